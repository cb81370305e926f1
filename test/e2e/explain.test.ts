import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Explanation } from '../../src/admin/explanation.js';
import { isInRuns, readRequestId, type Run } from '../../src/history/request-ids.js';
import type { EventJournal } from '../../src/state/event-journal.js';
import { FileEventJournal } from '../../src/state/file/file-journal.js';
import { PostgresEventJournal } from '../../src/state/postgres/postgres-journal.js';
import { SqliteEventJournal } from '../../src/state/sqlite/sqlite-journal.js';
import { tidegate } from '../cli/run.js';
import { FakeUpstream, jsonMessage, refusal } from '../support/fake-upstream.js';
import { type OwnState, STORES } from '../support/stores.js';
import { TidegateProcess } from '../support/tidegate-process.js';
import { until } from '../support/until.js';

const THREAD = new URL('../../dist/chunks/journal-thread.js', import.meta.url);

/** What another process would find. */
function journalOf(kind: string, address: string): EventJournal {
  const path = address.slice(address.indexOf(':') + 1);
  if (kind === 'file') return new FileEventJournal({ path });
  if (kind === 'sqlite') return new SqliteEventJournal({ path, thread: THREAD });
  return new PostgresEventJournal({ url: address, instance: 'test' });
}

describe.each(STORES)('a refusal on the $kind store', ({ kind, make }) => {
  let state: OwnState;
  let upstream: FakeUpstream;
  const gates: TidegateProcess[] = [];

  beforeEach(async () => {
    state = await make();
    upstream = await FakeUpstream.open(jsonMessage({ input: 600, output: 400 }));
  });

  afterEach(async () => {
    for (const gate of gates.splice(0)) await gate.kill();
    await upstream.close();
    await state.dispose();
  });

  async function start(env: Readonly<Record<string, string>> = {}): Promise<TidegateProcess> {
    const gate = await TidegateProcess.start({
      TIDEGATE_UPSTREAM: upstream.url,
      TIDEGATE_STATE: state.address,
      TIDEGATE_BUDGET: '100000',
      ...env,
    });
    gates.push(gate);
    return gate;
  }

  const refusedId = async (gate: TidegateProcess): Promise<string> => {
    const response = await gate.call();
    await response.text();
    const id = response.headers.get('tidegate-request-id');
    expect(id, `refused by Tidegate: ${response.status}`).not.toBeNull();
    return id!;
  };

  async function explained(gate: TidegateProcess, id: string): Promise<Explanation | null> {
    const response = await fetch(`${gate.controlUrl}/explain/${id}`);
    const body = (await response.json()) as unknown;
    if (response.status === 404) return null;
    expect(response.status, JSON.stringify(body)).toBe(200);
    return body as Explanation;
  }

  async function untilWritten(ids: readonly string[]): Promise<void> {
    const journal = journalOf(kind, state.address);
    const written = async (id: string) =>
      (await journal.find(readRequestId(id)!)).some(({ document }) =>
        isInRuns(document['runs'] as Run[], readRequestId(id)!.number),
      );
    for (const id of ids) await until(() => written(id));
    await journal.close();
  }

  it('is explained at once, after a kill and a restart, and by another instance', async () => {
    const gate = await start();
    await (await gate.call()).text();
    upstream.answer = refusal({ 'retry-after': '3000' });
    await (await gate.call()).text();
    const ids = [await refusedId(gate), await refusedId(gate)];
    const [first] = ids as [string, string];
    const at = (await explained(gate, first))!;
    expect(at).toMatchObject({
      requestId: first,
      scope: 'anthropic',
      model: 'claude-test',
      decision: 'cooldown',
      cooldown: {
        kind: 'quota',
        consecutive: 1,
        episode: 1,
        statedWaitMs: 3_000_000,
        requestId: expect.stringMatching(/^tg_/),
      },
      limits: [
        {
          name: 'tokens',
          used: 1_000,
          reserved: 0,
          orphaned: 0,
          budget: { current: 100_000, source: 'configured', configured: 100_000 },
          window: { kind: 'fixed', endStated: true },
        },
      ],
    });
    expect(at.blockedUntil).toBe(at.cooldown!.until);

    const other = kind === 'postgres' ? await start({ TIDEGATE_INSTANCE: 'other' }) : null;
    if (other !== null) {
      await until(async () => (await explained(other, ids[1]!)) !== null);
      expect(await explained(other, first)).toEqual(at);
    }
    // What is refused is written within a second; then nothing takes it away.
    await untilWritten(ids);
    await gate.kill();
    const again = await start();
    expect(await explained(again, first)).toEqual(at);
    expect(await explained(again, ids[1]!)).not.toBeNull();
    expect(await explained(again, `${first}zz`), 'an id that was never given').toBeNull();

    const words = await tidegate(['explain', first, '--url', again.controlUrl]);
    expect(words, words.err).toMatchObject({ code: 0 });
    expect(words.out).toContain(`${first} was refused by Tidegate at `);
    expect(words.out).toContain(`Nothing passes before ${at.blockedUntil}.`);
    expect(words.out).toMatch(/The upstream had refused request tg_\w+ at .* \(quota\)\./);
    expect(words.out).toContain('It asked to wait 50m');
    expect(words.out).toContain('tokens: used 1_000 tokens of 100_000.');
    expect(words.out).toContain('The budget comes from the configuration (100_000).');
  });

  it.runIf(kind === 'file')(
    'by a budget is explained in words and as JSON, and what is not known is said',
    async () => {
      const gate = await start({
        TIDEGATE_BUDGET: '1000',
        TIDEGATE_ADMIN_TOKEN: 'a-token-of-16-chars',
      });
      const env = { TIDEGATE_ADMIN_TOKEN: 'a-token-of-16-chars' };
      const explain = (id: string, ...more: string[]) =>
        tidegate(['explain', id, '--url', gate.controlUrl, ...more], { env });
      await (await gate.call()).text();
      const budget = await refusedId(gate);
      const { out, code } = await explain(budget);
      expect(code).toBe(0);
      expect(out).toMatch(/The budget of limit tokens was used up: [\d_]+ of 1_000 tokens/);
      expect(out).toContain('raise TIDEGATE_BUDGET');
      const json = await explain(budget, '--json');
      expect(JSON.parse(json.out)).toMatchObject({ decision: 'budget', limit: 'tokens' });
      const unknown = await explain('tg_0123456789');
      expect(unknown.code).toBe(64);
      expect(unknown.err).toContain('nothing is known of "tg_0123456789"');
      expect(unknown.err).toContain('told by: tidegate events');
      const none = await tidegate(['explain'], { env });
      expect(none).toMatchObject({ code: 64, err: expect.stringContaining('tidegate-request-id') });
    },
  );
});

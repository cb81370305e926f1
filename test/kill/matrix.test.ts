import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  FakeUpstream,
  jsonMessage,
  refusal,
  STREAM_HEADERS,
  streamEvents,
} from '../support/fake-upstream.js';
import { type OwnState, STORES } from '../support/stores.js';
import { TidegateProcess } from '../support/tidegate-process.js';
import { until } from '../support/until.js';

/**
 * Goal: whatever moment the process is killed at, the durable charge is never below what the upstream
 * saw, and no request reaches the upstream in a cooldown.
 * Method: a real process, SIGKILL at an exact point (kill-at.mjs), a restart on the same files, and an
 * upstream that counts. Every call costs the same, so after a few of them estimates are exact. The
 * process that shows what a kill left is the one that dies at the next point: half the starts.
 * Control: the same on a state that is thrown away with the process must break both.
 */
const KILL_AT = fileURLToPath(new URL('../support/kill-at.mjs', import.meta.url));
const COST = 500;
const IN_A_CLEAN_STOP = 'in a clean stop';
/** One call, charged by the upstream, and here as that of a process that died. */
const STANDS = { used: COST, orphaned: COST, reserved: 0, charged: COST, seen: 1 };

const isOver = ({ child }: TidegateProcess) => child.exitCode !== null || child.signalCode !== null;

describe.each(STORES)('on the $kind store', ({ writePoints, make }) => {
  let state: OwnState;
  let upstream: FakeUpstream;
  let gate: TidegateProcess | null = null;
  /** What the upstream has charged: input at the start, so every answer it began counts. */
  let charged: number;
  /** The same, what the limit said, and how much the upstream had seen, before the call that kills. */
  let before: { charged: number; used: number; orphaned: number; seen: number };

  beforeAll(async () => {
    upstream = await FakeUpstream.open();
    state = await make();
  });

  beforeEach(() => {
    upstream.answer = charging(jsonMessage({ input: 300, output: 200 }));
    charged = 0;
  });

  afterAll(async () => {
    await gate?.kill();
    await upstream.close();
    await state.dispose();
  });

  function charging(answer: FakeUpstream['answer']): FakeUpstream['answer'] {
    return (request, response) => {
      charged += COST;
      return answer(request, response);
    };
  }

  /** Ends the process that is there, if any, and starts another on the same state. */
  async function start(env: Readonly<Record<string, string>> = {}): Promise<TidegateProcess> {
    await gate?.kill();
    gate = await TidegateProcess.start({
      TIDEGATE_UPSTREAM: upstream.url,
      TIDEGATE_STATE: state.address,
      TIDEGATE_BUDGET: '1000000',
      NODE_OPTIONS: `--import=${KILL_AT}`,
      // For a process whose calls name no point.
      KILL_AT: IN_A_CLEAN_STOP,
      ...env,
    });
    return gate;
  }

  /** Throws the state away, with the process and its memory. */
  async function forget(): Promise<void> {
    await gate?.kill();
    gate = null;
    await state.forget();
  }

  /** A process whose next call is one of known cost: calls until estimates are exact. */
  async function begin(): Promise<void> {
    if (gate === null || isOver(gate)) await start();
    await fetch(`${gate!.controlUrl}/cooldown/clear`, { method: 'POST' });
    const { used } = await settled();
    for (let call = 0; call < 3; call += 1) await (await gate!.call()).text();
    const now = await settled();
    expect(now.used).toBe(used + 3 * COST);
    before = { charged, used: now.used, orphaned: now.orphaned, seen: upstream.seen.length };
  }

  async function limit() {
    const { limits } = await gate!.scope();
    return limits[0]!;
  }

  async function settled() {
    await until(async () => (await limit()).reserved === 0);
    return limit();
  }

  /** What the limit says, and the upstream has seen and charged, beyond what `begin` left. */
  async function since() {
    const { used, orphaned, reserved } = await limit();
    return {
      used: used - before.used,
      orphaned: orphaned - before.orphaned,
      reserved,
      charged: charged - before.charged,
      seen: upstream.seen.length - before.seen,
    };
  }

  /** A call that ends the process at `point`; the client sees its connection break. */
  async function callAndDie(point: string): Promise<void> {
    await callOnce(point);
    await expectDeath(point);
  }

  async function callOnce(point: string): Promise<void> {
    const headers = { 'content-type': 'application/json', 'x-kill-at': point };
    await gate!.call({}, { headers }).then(
      (response) => response.text().catch(() => {}),
      () => {},
    );
  }

  async function expectDeath(point: string): Promise<void> {
    expect(await gate!.exited).toMatchObject({ signal: 'SIGKILL' });
    expect(gate!.err).toContain(`killed at ${point}`);
  }

  describe('killed while a call is under way', () => {
    beforeEach(begin);

    it('before the charge is durable: nothing was forwarded, nothing is charged', async () => {
      await callAndDie('before the charge is durable');
      await start();
      expect(await since()).toEqual({ used: 0, orphaned: 0, reserved: 0, charged: 0, seen: 0 });
    });

    it('after it, before forwarding: the charge stands, though the upstream never saw the call', async () => {
      await callAndDie('before the charge is forwarded');
      await start();
      expect(await since()).toEqual({ ...STANDS, charged: 0, seen: 0 });
    });

    it('after the upstream answered, before anything was relayed: the charge stands', async () => {
      await callAndDie('before anything is relayed');
      await start();
      expect(await since()).toEqual(STANDS);
    });

    it('in mid-stream: the charge stands', async () => {
      upstream.answer = charging((_request, response) => {
        response.writeHead(200, STREAM_HEADERS);
        for (const event of streamEvents({ input: 300, output: 200 }).slice(0, 4)) {
          response.write(event);
        }
      });
      const response = await gate!.call();
      await response.body!.getReader().read();
      await start();
      expect(await since()).toEqual(STANDS);
    });

    it('after the stream, before its settlement is durable: the charge stands', async () => {
      await callAndDie('before the settlement is durable');
      await start();
      expect(await since()).toEqual(STANDS);
    });
  });

  describe('killed while the state is written', () => {
    beforeEach(begin);

    it.each(writePoints)('%s: nothing is lost', async (point) => {
      // The file store writes state.json within a second of a call, beside others.
      do await callOnce(point);
      while (!isOver(gate!));
      await expectDeath(point);
      await start();
      const { used, charged: cost } = await since();
      expect(used).toBeGreaterThanOrEqual(cost);
      expect((await limit()).window.observed, 'the files were whole').toBe(true);
      expect((await gate!.scope()).state).toBe('open');
    });

    it('in a clean stop: the run counts as unclean, and nothing is lost', async () => {
      const response = await gate!.call();
      await response.text();
      gate!.child.kill('SIGTERM');
      await expectDeath(IN_A_CLEAN_STOP);
      const again = await start();
      expect(await since()).toMatchObject({ used: COST, charged: COST });
      expect(again.log()).toContainEqual(
        expect.objectContaining({ message: 'the run before this one did not stop cleanly' }),
      );
    });
  });

  describe('killed around a refusal', () => {
    beforeEach(async () => {
      await begin();
      upstream.answer = refusal({ 'retry-after': '3000' });
    });

    it('before the cooldown is durable: the client has not heard of it, and one more call finds out', async () => {
      await callAndDie('before the cooldown is durable');
      await start();
      expect((await gate!.call()).status).toBe(429);
      expect((await gate!.call()).headers.get('tidegate-decision')).toBe('cooldown');
      expect((await since()).seen).toBe(2);
    });

    it('after it, before the client hears of it: nothing more reaches the upstream', async () => {
      await callAndDie('before the client hears of it');
      await start();
      for (let call = 0; call < 5; call += 1) {
        expect((await gate!.call()).headers.get('tidegate-decision')).toBe('cooldown');
      }
      expect((await since()).seen).toBe(1);
    });
  });

  describe('control: a state that is thrown away with the process', () => {
    beforeEach(begin);

    it('counts less than the upstream saw', async () => {
      await callAndDie('before anything is relayed');
      await forget();
      await start();
      expect((await limit()).used).toBeLessThan(charged);
    });

    it('lets a call through into the cooldown', async () => {
      upstream.answer = refusal({ 'retry-after': '3000' });
      await callAndDie('before the client hears of it');
      await forget();
      await start();
      await gate!.call();
      expect((await since()).seen).toBe(2);
    });
  });

  describe('killed while the probe is out', () => {
    it('keeps its place for its 10 s: however often it is restarted, no second probe follows', async () => {
      await forget();
      await start({ TIDEGATE_BACKOFF: '100ms' });
      const seen = upstream.seen.length;
      upstream.answer = refusal();
      await gate!.call();
      upstream.answer = () => {};
      await until(async () => (await gate!.scope()).state === 'half-open');
      void gate!.call().catch(() => {});
      await until(() => upstream.seen.length === seen + 2);
      const asked = performance.now();
      let restarts = 0;
      for (; restarts < 3; restarts += 1) {
        await start({ TIDEGATE_BACKOFF: '100ms' });
        // A busy machine may take all of that time for the starts; then the next probe would be due.
        if (performance.now() - asked > 9_000) break;
        const refused = await gate!.call();
        expect(refused.headers.get('tidegate-decision')).toBe('probing');
        expect(refused.headers.get('retry-after')).toBe('1');
      }
      expect(restarts).toBeGreaterThan(0);
      expect(upstream.seen).toHaveLength(seen + 2);
    });
  });
});

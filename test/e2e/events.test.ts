import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Events, EventView } from '../../src/admin/told-event.js';
import { tidegate } from '../cli/run.js';
import { FakeUpstream, jsonMessage, refusal } from '../support/fake-upstream.js';
import { type OwnState, STORES } from '../support/stores.js';
import { TidegateProcess } from '../support/tidegate-process.js';
import { until } from '../support/until.js';

const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

describe.each(STORES)('events on the $kind store', ({ kind, make }) => {
  let state: OwnState;
  let upstream: FakeUpstream;
  let gate: TidegateProcess;
  const children: ChildProcess[] = [];

  beforeEach(async () => {
    state = await make();
    upstream = await FakeUpstream.open(jsonMessage({ input: 60, output: 40 }));
  });

  afterEach(async () => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
    await gate.kill();
    await upstream.close();
    await state.dispose();
  });

  const environment = () => ({
    TIDEGATE_UPSTREAM: upstream.url,
    TIDEGATE_STATE: state.address,
    TIDEGATE_BUDGET: '100000',
    TIDEGATE_TICK: '100ms',
  });
  const start = async (env = {}) =>
    (gate = await TidegateProcess.start({ ...environment(), ...env }));

  async function events(query = ''): Promise<Events> {
    const response = await fetch(`${gate.controlUrl}/events${query}`);
    expect(response.status).toBe(200);
    return (await response.json()) as Events;
  }

  const kinds = (told: readonly EventView[]) => told.map((event) => event.kind);

  function follow(...args: string[]) {
    const child = spawn(process.execPath, [MAIN, 'events', '--follow', '--json', ...args], {
      env: { PATH: process.env['PATH'] ?? '' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    children.push(child);
    const seen: EventView[] = [];
    let rest = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      const lines = `${rest}${text}`.split('\n');
      rest = lines.pop() ?? '';
      seen.push(...lines.map((line) => JSON.parse(line) as EventView));
    });
    return { child, seen };
  }

  it('are followed as they happen, and are all there, each once, after a kill and a stop', async () => {
    await start();
    await (await gate.call()).text();
    const { seen } = follow('--url', gate.controlUrl);
    await until(() => kinds(seen).includes('budget-moved'));
    upstream.answer = refusal({ 'retry-after': '3000' });
    await (await gate.call()).text();
    await until(() => kinds(seen).includes('cooldown-began'));
    const began = seen.find((event) => event.kind === 'cooldown-began')!;
    expect(began).toMatchObject({
      scope: 'anthropic',
      limit: 'tokens',
      cause: 'refusal by the upstream',
      message: 'the upstream refused: cooldown',
      requestId: expect.stringMatching(/^tg_/),
      instance: 'test',
      after: { budget: 100_000, source: 'configured', orphaned: 0 },
      details: { statedWaitMs: 3_000_000, rung: 1, until: expect.stringMatching(/Z$/) },
    });
    await until(() => kinds(seen).includes('sample'));
    const before = (await events()).events;
    await gate.kill();
    await start();
    await until(async () => kinds((await events()).events).includes('unclean-start'));
    const after = (await events()).events;
    expect(after.slice(0, before.length)).toEqual(before);
    expect(await gate.stop()).toMatchObject({ code: 0 });
    const env = { ...environment(), TIDEGATE_ADMIN_LISTEN: '127.0.0.1:1' };
    const { code, out, err } = await tidegate(['events', '--json'], { env });
    expect(code, err).toBe(0);
    expect(err).toContain('read from the journal');
    const read = out
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as EventView);
    expect(read.slice(0, after.length)).toEqual(after);
    expect(new Set(read.map(({ id }) => id)).size).toBe(read.length);
  });

  it.runIf(kind === 'file')('hold up nothing while their journal can’t be written', async () => {
    await start();
    await until(() => existsSync(`${state.address.slice(5)}.events`));
    await gate.kill();
    const path = `${state.address.slice(5)}.events`;
    rmSync(path);
    // A directory in its place: nobody can write that, not even root.
    mkdirSync(path);
    await start();
    upstream.answer = refusal({ 'retry-after': '3000' });
    expect((await gate.call()).status).toBe(429);
    const told = (await events('?since=1h')).events;
    expect(kinds(told), 'the state tells').toContain('cooldown-began');
    await until(() => gate.log().some(({ message }) => /event journal/.test(message)), 10_000);
    const ready = await fetch(`${gate.controlUrl}/health/ready`);
    expect(ready.status).toBe(200);
    expect(JSON.stringify(await ready.json())).toContain(`${path} can't be written`);
    rmSync(path, { recursive: true });
    await until(() => existsSync(path) && readFileSync(path, 'utf8').includes('cooldown-began'));
  });

  it.runIf(kind === 'file')('are told to people in words, and mistakes too', async () => {
    await start({ TIDEGATE_ADMIN_TOKEN: 'a-token-of-16-characters' });
    const args = ['events', '--url', gate.controlUrl];
    const strange = await tidegate(args);
    expect(strange.code).toBe(78);
    expect(strange.err).toContain('TIDEGATE_ADMIN_TOKEN');
    const env = { TIDEGATE_ADMIN_TOKEN: 'a-token-of-16-characters' };
    const { code, out } = await tidegate(args, { env });
    expect(code).toBe(0);
    expect(out).toMatch(
      /^\S+Z {2}anthropic {2}budget-moved +budget moved; tokens by=configuration to=100_000/,
    );
    const wrong = await tidegate([...args, '--since', 'soon'], { env });
    expect(wrong).toMatchObject({ code: 64, err: expect.stringContaining('--since') });
    const nobody = await tidegate([...args, '--scope', 'nobody'], { env });
    expect(nobody).toMatchObject({ code: 64, err: expect.stringContaining('scopes: anthropic') });
    const headers = { authorization: `Bearer ${env.TIDEGATE_ADMIN_TOKEN}` };
    const answer = async (query: string) => {
      const response = await fetch(`${gate.controlUrl}/events${query}`, { headers });
      return [response.status, ((await response.json()) as { message: string }).message];
    };
    expect(await answer('?scope=nobody')).toEqual([404, expect.stringContaining('anthropic')]);
    expect(await answer('?since=soon')).toEqual([400, expect.stringContaining('since')]);
    expect(await answer('?limit=100000')).toEqual([400, expect.stringContaining('1000')]);
    expect(await answer('?after=x')).toEqual([400, expect.stringContaining('next')]);
    expect(await answer('?wait=10m&after=e30')).toEqual([400, expect.stringContaining('wait')]);
    const away = await tidegate(['events', '--url', 'http://127.0.0.1:1'], { env });
    expect(away).toMatchObject({ code: 75, err: expect.stringContaining('no control plane') });
  });
});

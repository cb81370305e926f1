/** Whoever reads what Tidegate says may go away, and a log may be on a full disk. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { FakeUpstream, refusal } from '../support/fake-upstream.js';
import { TemporaryDirectory } from '../support/temporary-directory.js';
import { TidegateProcess } from '../support/tidegate-process.js';

const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const FULL_DISK = ['sh', '-c', 'exec "$@" 2>/dev/full', 'sh'];

let directory: TemporaryDirectory;
let upstream: FakeUpstream;
let gate: TidegateProcess;

beforeEach(async () => {
  directory = new TemporaryDirectory();
  upstream = await FakeUpstream.open(refusal({ 'retry-after': '3000' }));
});

afterEach(async () => {
  await gate.kill();
  await upstream.close();
  directory.dispose();
});

const environment = () => ({
  TIDEGATE_UPSTREAM: upstream.url,
  TIDEGATE_STATE: `file:${directory.at('state.json')}`,
});

/** Each refusal is a line of the log. */
async function servesAndStops(): Promise<void> {
  for (const by of [null, 'cooldown', 'cooldown']) {
    const response = await gate.call();
    await response.text();
    expect([response.status, response.headers.get('tidegate-decision')]).toEqual([429, by]);
  }
  expect((await gate.status()).scopes[0]?.state).toBe('cooldown');
  expect(await gate.stop()).toEqual({ code: 0, signal: null });
}

it('a server serves on when nobody reads its output any more', async () => {
  gate = await TidegateProcess.start(environment());
  gate.child.stdout?.destroy();
  gate.child.stderr?.destroy();
  await servesAndStops();
});

it('a server serves on when its log is on a full disk', async () => {
  gate = await TidegateProcess.start(environment(), FULL_DISK);
  await servesAndStops();
});

it('what follows the events ends when nobody reads it any more', async () => {
  gate = await TidegateProcess.start(environment());
  const child = spawn(process.execPath, [MAIN, 'events', '--follow', '--url', gate.controlUrl], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit');
  await (await gate.call()).text();
  await once(child.stdout, 'data');
  child.stdout.destroy();
  for (const order of ['cooldown/clear', 'budget/reset']) {
    await fetch(`${gate.controlUrl}/${order}`, { method: 'POST' });
  }
  expect(await ended).toEqual([0, null]);
});

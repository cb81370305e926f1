import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { once } from 'node:events';
import { expect, it } from 'vitest';
import { FakeUpstream, jsonMessage } from '../support/fake-upstream.js';
import { FullPipe } from '../support/full-pipe.js';
import { TemporaryDirectory } from '../support/temporary-directory.js';
import { TidegateProcess } from '../support/tidegate-process.js';
import { until } from '../support/until.js';

/**
 * Goal: in a container, where Tidegate is PID 1, SIGTERM is a clean stop without an init before it.
 * Method: a PID namespace. PID 1 gets only the signals it handles: a Node.js that handles none is the
 * control.
 */
const UNSHARE = ['unshare', '--pid', '--fork', '--kill-child'];
const ABLE = spawnSync(UNSHARE[0]!, [...UNSHARE.slice(1), 'true']).status === 0;
if (!ABLE) console.warn('left out: SIGTERM as PID 1; this user may make no PID namespace');

/** The process that is PID 1 in the namespace of this `unshare`. */
function leaderOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim());
}

it.skipIf(!ABLE)('stops cleanly at SIGTERM as PID 1', async () => {
  const directory = new TemporaryDirectory();
  const env = { TIDEGATE_STATE: `file:${directory.at('state.json')}` };
  const tidegate = await TidegateProcess.start(env, UNSHARE);
  process.kill(leaderOf(tidegate.child.pid!), 'SIGTERM');
  expect(await tidegate.exited).toEqual({ code: 0, signal: null });
  expect(tidegate.log().at(-1)).toMatchObject({ message: 'stopped' });
  directory.dispose();
});

it.skipIf(!ABLE)('ends at a second SIGTERM as PID 1, which its own SIGKILL spares', async () => {
  const directory = new TemporaryDirectory();
  const full = new FullPipe(directory.at('access.log'));
  const env = { TIDEGATE_STATE: `sqlite:${directory.at('state.db')}` };
  const upstream = await FakeUpstream.open(jsonMessage());
  const tidegate = await TidegateProcess.start(
    { ...env, TIDEGATE_UPSTREAM: upstream.url, TIDEGATE_ACCESS_LOG: full.path },
    UNSHARE,
  );
  await (await tidegate.call()).text();
  upstream.answer = () => {};
  const call = tidegate.call().catch(() => null);
  await until(() => upstream.seen.length === 2);
  const leader = leaderOf(tidegate.child.pid!);
  await until(() => {
    try {
      return !process.kill(leader, 'SIGTERM');
    } catch {
      return true;
    }
  });
  expect(await tidegate.exited).toEqual({ code: 137, signal: null });
  await call;
  full.close();
  const next = await TidegateProcess.start(env);
  expect(await next.scope()).toMatchObject({ state: 'open' });
  expect(next.err).toContain('did not stop cleanly');
  await next.kill();
  await upstream.close();
  directory.dispose();
});

it.skipIf(!ABLE)('control: a Node.js without a handler does not stop', async () => {
  const script = 'setInterval(() => console.log("up"), 20)';
  const child = spawn(UNSHARE[0]!, [...UNSHARE.slice(1), process.execPath, '-e', script]);
  let lines = 0;
  child.stdout.on('data', () => (lines += 1));
  await until(() => lines > 0);
  const leader = leaderOf(child.pid!);
  process.kill(leader, 'SIGTERM');
  const atSignal = lines;
  await until(() => lines > atSignal + 5);
  expect(child.exitCode).toBeNull();
  process.kill(leader, 'SIGKILL');
  await once(child, 'exit');
});

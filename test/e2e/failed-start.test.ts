import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { FakeUpstream, jsonMessage } from '../support/fake-upstream.js';
import { freePort } from '../support/free-port.js';
import { FullPipe } from '../support/full-pipe.js';
import { TemporaryDirectory } from '../support/temporary-directory.js';
import { TidegateProcess } from '../support/tidegate-process.js';
import { until } from '../support/until.js';

let directory: TemporaryDirectory;
let upstream: FakeUpstream;
/** Has the port of the control plane: that is noticed when the data port serves already. */
let holder: FakeUpstream;
let failed: TidegateProcess;

beforeEach(async () => {
  directory = new TemporaryDirectory();
  upstream = await FakeUpstream.open(jsonMessage());
  holder = await FakeUpstream.open();
});

afterEach(async () => {
  await failed.kill();
  await upstream.close();
  await holder.close();
  directory.dispose();
});

it.each(['file', 'sqlite'])('ends by itself, with its exit code, and cleanly: %s', async (kind) => {
  const env = {
    TIDEGATE_UPSTREAM: upstream.url,
    TIDEGATE_STATE: `${kind}:${directory.at('state')}`,
  };
  failed = TidegateProcess.spawn({ ...env, TIDEGATE_ADMIN_LISTEN: new URL(holder.url).host });
  expect(await failed.exited).toEqual({ code: 75, signal: null });
  expect(failed.err).toMatch(/^tidegate: 127\.0\.0\.1 port \d+ is in use by another program/);
  const next = await TidegateProcess.start(env);
  expect(next.err).toBe('');
  await next.kill();
});

it.each(['file', 'sqlite'])('leaves alone whose name is on the store: %s', async (kind) => {
  const env = {
    TIDEGATE_UPSTREAM: upstream.url,
    TIDEGATE_STATE: `${kind}:${directory.at('state')}`,
  };
  const owner = () => readFileSync(directory.at('state.owner'), 'utf8');
  const first = await TidegateProcess.start({ ...env, TIDEGATE_INSTANCE: 'first' });
  try {
    const before = owner();
    expect(JSON.parse(before)).toMatchObject({ instance: 'first', pid: first.child.pid });
    for (const [code, mistake] of [
      [78, { TIDEGATE_BUDGET: 'much' }],
      [75, {}],
      [75, { TIDEGATE_ON_CORRUPT_STATE: 'refuse' }],
      [75, { TIDEGATE_STATE: `${kind === 'file' ? 'sqlite' : 'file'}:${directory.at('state')}` }],
    ] as const) {
      failed = TidegateProcess.spawn({ ...env, ...mistake, TIDEGATE_INSTANCE: 'second' });
      expect(await failed.exited).toEqual({ code, signal: null });
      if (code === 75) expect(failed.err).toContain('is in use by instance "first"');
      expect(owner(), JSON.stringify(mistake)).toBe(before);
    }
    expect((await (await first.call()).text()).length).toBeGreaterThan(0);
  } finally {
    expect(await first.stop()).toEqual({ code: 0, signal: null });
  }
  expect(existsSync(directory.at('state.owner')), 'nobody’s').toBe(false);
});

it.each(['file', 'sqlite'])('a directory is no state, and is left alone: %s', async (kind) => {
  const path = directory.at('state.json');
  writeFileSync(path, 'here');
  failed = TidegateProcess.spawn({ TIDEGATE_STATE: `${kind}:${directory.path}` });
  expect(await failed.exited).toEqual({ code: 78, signal: null });
  expect(failed.err).toContain('names a directory; did you mean');
  expect(readFileSync(path, 'utf8')).toBe('here');
});

it('ends also where a disk hangs', async () => {
  const full = new FullPipe(directory.at('access.log'));
  const port = await freePort();
  failed = TidegateProcess.spawn({
    TIDEGATE_UPSTREAM: upstream.url,
    TIDEGATE_STATE: `file:${directory.at('state.json')}`,
    TIDEGATE_ACCESS_LOG: full.path,
    TIDEGATE_LISTEN: `127.0.0.1:${port}`,
    TIDEGATE_ADMIN_LISTEN: new URL(holder.url).host,
  });
  // The line of this one is what hangs.
  const call = { method: 'POST', body: '{}' };
  await until(async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/v1/messages`, call).catch(() => null);
    return (await answer?.text()) !== undefined;
  });
  expect(await failed.exited).toEqual({ code: null, signal: 'SIGKILL' });
  expect(failed.err).toMatch(/"late":"access log"[^]*is in use[^]*something hangs/);
  full.close();
}, 20_000);

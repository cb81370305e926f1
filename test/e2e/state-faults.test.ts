import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FakeUpstream, jsonMessage } from '../support/fake-upstream.js';
import { TemporaryDirectory } from '../support/temporary-directory.js';
import { TidegateProcess } from '../support/tidegate-process.js';
import { until } from '../support/until.js';

let directory: TemporaryDirectory;
let upstream: FakeUpstream;
let gate: TidegateProcess | null;

beforeEach(async () => {
  directory = new TemporaryDirectory();
  upstream = await FakeUpstream.open(jsonMessage({ input: 60, output: 40 }));
  gate = null;
});

afterEach(async () => {
  await gate?.kill();
  await upstream.close();
  directory.dispose();
});

const environment = (extra: Readonly<Record<string, string>> = {}) => ({
  TIDEGATE_UPSTREAM: upstream.url,
  TIDEGATE_STATE: `file:${directory.at('state.json')}`,
  ...extra,
});

async function start(extra: Readonly<Record<string, string>> = {}): Promise<TidegateProcess> {
  gate = await TidegateProcess.start(environment(extra));
  return gate;
}

/** A state with some use in it, stopped cleanly. */
async function usedState(): Promise<string> {
  const first = await start();
  for (let call = 0; call < 3; call += 1) await (await first.call()).text();
  expect((await first.stop()).code).toBe(0);
  return directory.at('state.json');
}

/** How a start ends that must not succeed. */
async function failedStart(extra: Readonly<Record<string, string>> = {}) {
  const failed = TidegateProcess.spawn(environment(extra));
  const { code } = await failed.exited;
  return { code, err: failed.err };
}

const setAside = () => readdirSync(directory.path).filter((name) => name.includes('.corrupt-'));

describe('a state that can’t be read', () => {
  it.each([
    ['cut off', (text: string) => text.slice(0, text.length / 2), 'JSON'],
    ['empty', () => '', 'empty'],
    ['not JSON', () => 'hello', 'JSON'],
  ])('%s: is set aside, the scope is cautious, traffic flows', async (_, damage, why) => {
    const state = await usedState();
    const whole = readFileSync(state, 'utf8');
    expect(damage(whole)).not.toBe(whole);
    writeFileSync(state, damage(whole));
    const again = await start();
    expect(await again.scope()).toMatchObject({ state: 'cautious' });
    expect(setAside()).toHaveLength(1);
    expect(again.log().filter(({ message }) => message.includes('set aside'))).toMatchObject([
      {
        level: 'warn',
        path: state,
        as: directory.at(setAside()[0]!),
        why: expect.stringContaining(why),
      },
    ]);
    expect((await again.call()).status).toBe(200);
    expect(again.err).toContain('state was lost or restored');
  });

  it('missing beside the one before it: is restored, and the scope is cautious', async () => {
    rmSync(await usedState());
    const again = await start();
    expect(await again.scope()).toMatchObject({ state: 'cautious', limits: [{ used: 300 }] });
  });

  it('edited by hand: is taken, but not trusted', async () => {
    const state = await usedState();
    const edited = readFileSync(state, 'utf8').replace('"used": 300', '"used": 200');
    writeFileSync(state, edited);
    const again = await start();
    expect(await again.scope()).toMatchObject({ state: 'cautious', limits: [{ used: 200 }] });
    expect(setAside()).toEqual([]);
  });

  it('stops the start, touching nothing, if the operator wants it so', async () => {
    const state = await usedState();
    writeFileSync(state, 'hello');
    const { code, err } = await failedStart({ TIDEGATE_ON_CORRUPT_STATE: 'refuse' });
    expect(code).toBe(78);
    expect(err).toContain(state);
    expect(readFileSync(state, 'utf8')).toBe('hello');
    expect(setAside()).toEqual([]);
  });

  it('of a newer version stops the start, touching nothing', async () => {
    const state = await usedState();
    const newer = readFileSync(state, 'utf8').replace('"major": 1', '"major": 2');
    writeFileSync(state, newer);
    const { code, err } = await failedStart();
    expect(code).toBe(78);
    expect(err).toContain('schema 2');
    expect(readFileSync(state, 'utf8')).toBe(newer);
  });

  it('empty at the first start is trusted, or not, as configured', async () => {
    expect(await (await start()).scope()).toMatchObject({ state: 'open' });
    await gate?.kill();
    directory.dispose();
    const cautious = await start({ TIDEGATE_ON_EMPTY_STATE: 'cautious' });
    expect(await cautious.scope()).toMatchObject({ state: 'cautious' });
  });
});

describe('a fault of its own', () => {
  it.each(['file:state.json', 'sqlite:state.db'])(
    'is said, and a restart finds all it knew: %s',
    async (store) => {
      const [scheme, name] = store.split(':') as [string, string];
      const address = `${scheme}:${directory.at(name)}`;
      const thrown = "process.once('SIGUSR2', () => { throw new Error('made for this test') })";
      const first = await start({
        TIDEGATE_STATE: address,
        NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(thrown)}`,
      });
      for (let call = 0; call < 3; call += 1) await (await first.call()).text();
      await until(async () => (await first.scope()).limits[0]!.reserved === 0);
      first.child.kill('SIGUSR2');
      expect(await first.exited).toEqual({ code: null, signal: 'SIGKILL' });
      expect(first.err).toContain('made for this test');
      const again = await start({ TIDEGATE_STATE: address });
      expect(await again.scope()).toMatchObject({ state: 'open', limits: [{ used: 300 }] });
    },
  );
});

describe('a second instance', () => {
  it('is refused by name of the first, whose death frees the state', async () => {
    const first = await start({ TIDEGATE_INSTANCE: 'the-first' });
    const { code, err } = await failedStart({ TIDEGATE_INSTANCE: 'the-second' });
    expect(code).toBe(75);
    expect(err).toContain('the-first');
    expect(err).toContain(String(first.child.pid));
    expect((await first.call()).status, 'the first goes on').toBe(200);
    await first.kill();
    expect((await (await start({ TIDEGATE_INSTANCE: 'the-second' })).call()).status).toBe(200);
  });

  const namespaces = spawnSync('unshare', ['-p', '-f', 'true']).status === 0;

  it.runIf(namespaces)('is told apart in containers, where every pid is 1', async () => {
    const inContainer = ['unshare', '-p', '-f', '--kill-child'];
    const first = await TidegateProcess.start(environment(), inContainer);
    const second = TidegateProcess.spawn(environment(), inContainer);
    expect((await second.exited).code, 'while the first lives').toBe(75);
    await first.kill();
    gate = await TidegateProcess.start(environment(), inContainer);
    expect((await gate.call()).status).toBe(200);
  });
});

describe('a disk that takes nothing more', () => {
  const mounts = spawnSync('unshare', ['-m', 'true']).status === 0;

  /** The state on a disk of 1 MiB in a mount namespace of the process; outside it is under /proc. */
  async function onSmallDisk(): Promise<{ small: TidegateProcess; disk: string }> {
    const mount = `mount -t tmpfs -o size=1m tmpfs ${directory.path} && exec "$@"`;
    const wrapper = ['unshare', '-m', 'sh', '-c', mount, 'sh'];
    const small = await TidegateProcess.start(environment(), wrapper);
    gate = small;
    return { small, disk: `/proc/${small.child.pid}/root${directory.path}` };
  }

  it.runIf(mounts)('forwards nothing, says so, and goes on when there is room', async () => {
    const { small, disk } = await onSmallDisk();
    expect((await small.call()).status).toBe(200);
    await until(() => existsSync(`${disk}/state.json`));
    const filler = `${disk}/filler`;
    spawnSync('dd', ['if=/dev/zero', `of=${filler}`, 'bs=4k']);
    // What fits into blocks that are there already may still be written, for a second at most.
    let refused: Response | null = null;
    await until(async () => {
      const response = await small.call();
      refused = response;
      return response.status === 503;
    }, 10_000);
    const seen = upstream.seen.length;
    const headers = refused!.headers as Headers;
    expect(headers.get('tidegate-decision')).toBe('state');
    expect(headers.get('retry-after')).toBe('1');
    const ready = await fetch(`${small.controlUrl}/health/ready`);
    expect(ready.status).toBe(503);
    expect(await ready.text()).toContain('free space');
    expect(small.err, 'the line that on-call reads').toMatch(/refused.*"problem":"[^"]*free space/);
    expect((await fetch(`${small.controlUrl}/health/live`)).status).toBe(200);
    expect((await small.status()).store.healthy).toBe(false);
    expect(upstream.seen, 'nothing is forwarded').toHaveLength(seen);
    rmSync(filler);
    await until(async () => (await small.call()).status === 200, 10_000);
    expect((await fetch(`${small.controlUrl}/health/ready`)).status).toBe(200);
    const ofStore = () => small.log().filter(({ message }) => message.startsWith('the store'));
    await until(() => ofStore().length === 2);
    expect(ofStore()).toMatchObject([
      { level: 'error', problem: expect.stringContaining('free space') },
      { level: 'info', message: 'the store is as it should be again' },
    ]);
  });

  it.runIf(mounts)(
    'that is read-only from the start serves 503 until it can be written',
    async () => {
      const mount = `mount -t tmpfs tmpfs ${directory.path} && mount -o remount,ro ${directory.path} && exec "$@"`;
      const small = await TidegateProcess.start(environment(), [
        'unshare',
        '-m',
        'sh',
        '-c',
        mount,
        'sh',
      ]);
      gate = small;
      expect((await small.call()).headers.get('tidegate-decision')).toBe('state');
      expect((await fetch(`${small.controlUrl}/health/startup`)).status).toBe(503);
      expect((await fetch(`${small.controlUrl}/health/live`)).status).toBe(200);
      const inside = ['-t', String(small.child.pid), '-m'];
      spawnSync('nsenter', [...inside, 'mount', '-o', 'remount,rw', directory.path]);
      await until(async () => (await small.call()).status === 200, 10_000);
      expect((await fetch(`${small.controlUrl}/health/startup`)).status).toBe(200);
    },
  );
});

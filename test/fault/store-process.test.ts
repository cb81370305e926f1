import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Child, typescript } from '../support/child.js';
import { FileStore } from '../support/file-store.js';
import { SqliteStore } from '../support/sqlite-store.js';
import type { StoreOnDisk } from '../support/store-on-disk.js';

/** Namespaces need root, or a kernel that lets everybody make them. */
const NAMESPACES = spawnSync('unshare', ['-p', '-m', '-f', 'true']).status === 0;
const AS_PID_1 = ['unshare', '-p', '-f', '--kill-child=SIGKILL'];

const KINDS: readonly (readonly [string, () => StoreOnDisk])[] = [
  ['file', () => new FileStore()],
  ['sqlite', () => new SqliteStore()],
];

describe.each(KINDS)('the %s store', (_kind, make) => {
  let store: StoreOnDisk;
  let children: Child[];
  beforeEach(() => {
    store = make();
    children = [];
  });
  afterEach(async () => {
    for (const child of children) await child.kill();
    await store.dispose();
  });

  function start(mode: string, instance: string, wrapper: readonly string[] = []): Child {
    const child = new Child([
      ...wrapper,
      ...typescript('store-child.ts'),
      mode,
      store.path,
      instance,
    ]);
    children.push(child);
    return child;
  }

  /** Kills a writing process after so many lines, and returns the last update it had an answer to. */
  async function killAfter(lines: number, mode: string): Promise<number> {
    const child = start(mode, 'writer');
    await child.saysLines(lines);
    await child.kill();
    const answers = child.lines.filter((line) => line.startsWith('answered '));
    return Math.max(...answers.map((line) => Number(line.split(' ')[1])));
  }

  async function expectKept(answered: number): Promise<void> {
    const repository = await store.open();
    const { state } = await repository.read('a');
    await repository.close();
    expect(state.hot.sequence).toBeGreaterThanOrEqual(answered);
    // What was being written when it died may be there too: one update a caller.
    expect(state.hot.sequence).toBeLessThanOrEqual(answered + 16);
    expect(state.hot.lost).toBeNull();
  }

  describe('SIGKILL', () => {
    it('loses no update that was answered, time after time', async () => {
      for (const lines of [20, 3_000, 300]) await expectKept(await killAfter(lines, 'write'));
    });

    it('would show it if the store saved nothing', async () => {
      const answered = await killAfter(100, 'forget');
      await expect(expectKept(answered)).rejects.toThrow(/expected/);
    });
  });

  describe('a second instance', () => {
    it('is refused by name while the first lives, and takes over when it is killed', async () => {
      const first = start('hold', 'first');
      await first.says('open healthy');
      await expect(store.open({ instance: 'second' })).rejects.toMatchObject({
        code: 'STATE_LOCKED',
        message: expect.stringMatching(/state\.\w+ is in use by instance "first" \(pid \d+ on /),
        hint: expect.stringContaining('TIDEGATE_STATE'),
      });
      await first.kill();
      const second = await store.open({ instance: 'second' });
      expect(second.health().healthy).toBe(true);
      expect(readFileSync(`${store.path}.owner`, 'utf8')).toContain('"second"');
    });

    it('is refused within one process too', async () => {
      const first = await store.open({ instance: 'first' });
      for (let attempt = 0; attempt < 2; attempt += 1) {
        await expect(store.open()).rejects.toMatchObject({ code: 'STATE_LOCKED' });
      }
      // The refused ones have not dropped the lock: another process is refused as well.
      await start('hold', 'second').says('STATE_LOCKED: ');
      await first.close();
      await start('hold', 'third').says('open healthy');
    });

    it.runIf(NAMESPACES)('is refused where every process is pid 1', async () => {
      const first = start('hold', 'first', AS_PID_1);
      await first.says('open healthy');
      const second = start('hold', 'second', AS_PID_1);
      expect(await second.says('STATE_LOCKED')).toContain('instance "first" (pid 1 on ');
      await first.kill();
      await start('hold', 'third', AS_PID_1).says('open healthy');
    });
  });

  describe('a disk that is really read-only', () => {
    it.runIf(NAMESPACES)('gives nobody the lock, so that two can’t have it later', async () => {
      await (await store.open()).close();
      const mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"';
      const child = start('hold', 'reader', ['unshare', '-m', 'sh', '-c', mount, store.directory]);
      expect(await child.says('open')).toMatch(/state\.\w+\.lock can't be locked/);
    });
  });

  describe('a disk that is really full', () => {
    it.runIf(NAMESPACES)(
      'refuses updates for certain, and goes on once there is room',
      async () => {
        mkdirSync(store.directory);
        const mount = 'mount -t tmpfs -o size=512k none "$0" && exec "$@"';
        const child = start('fill', 'writer', [
          'unshare',
          '-m',
          'sh',
          '-c',
          mount,
          store.directory,
        ]);
        expect(await child.says('full')).toBe('full ENOSPC');
        expect(await child.says('refused')).toBe('refused STATE_UNAVAILABLE');
        expect(await child.says('problem')).toMatch(
          /state\.\w+ can't be written.*free space on its disk/,
        );
        expect(await child.says('healed')).toBe('healed 1');
        expect(await child.says('kept')).toBe('kept true');
      },
    );
  });
});

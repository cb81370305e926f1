import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TidegateError } from '../../src/platform/tidegate-error.js';
import type { StateRepository } from '../../src/state/state-repository.js';
import { Child, typescript } from '../support/child.js';
import { errorOf } from '../support/look-at-store.js';
import { ManualTime } from '../support/manual-time.js';
import { increment, look, sequenceOf } from '../support/scope-states.js';
import { SqliteStore } from '../support/sqlite-store.js';
import { until } from '../support/until.js';
import { FailingDisk, systemError } from '../support/watched-files.js';

/** As often as commits look whether the files are still there. */
const LOOK_EVERY_MS = 100;

let time: ManualTime;
let store: SqliteStore;
beforeEach(() => {
  time = new ManualTime();
  store = new SqliteStore(time);
});
afterEach(() => store.dispose());

/** A store whose scope `a` stands at 1. */
async function opened(): Promise<StateRepository> {
  const repository = await store.open();
  await repository.update('a', increment);
  return repository;
}

/** All is well again, and the store gets the second it needs to notice. */
async function heal(repository: StateRepository): Promise<void> {
  store.before = () => undefined;
  store.after = () => undefined;
  time.advance(1_000);
  await until(() => repository.health().healthy);
}

function sql(statement: string): void {
  const database = new Database(store.path);
  database.exec(statement);
  database.close();
}

describe('a commit that fails', () => {
  const unknown = () => new TidegateError('STATE_UNKNOWN', 'state.db could not be flushed');
  it.each([
    ['before it is written', 'before', () => systemError('SQLITE_FULL'), 'STATE_UNAVAILABLE'],
    ['after it is written, for all that is known', 'after', unknown, 'STATE_UNKNOWN'],
  ] as const)('%s: all in it hear of it, memory goes back, and it heals', async (...row) => {
    const [, when, fault, code] = row;
    const repository = await opened();
    const { id, revision } = repository.health();
    store[when] = ({ call }) => {
      if (call === 'commit') throw fault();
    };
    const sharing = [increment, look, increment].map((decide) =>
      errorOf(repository.update('a', decide as typeof increment)),
    );
    for (const error of await Promise.all(sharing)) expect(error.code).toBe(code);
    expect(await sequenceOf(repository, 'a')).toBe(1);
    expect(repository.health()).toMatchObject({ healthy: false });
    expect(repository.health().problem).toContain('state.db');
    // Refused without touching the disk.
    store.before = () => expect.fail('expected no request');
    expect((await errorOf(repository.update('a', increment))).code).toBe('STATE_UNAVAILABLE');
    expect((await repository.update('a', look)).hot.sequence).toBe(1);

    await heal(repository);
    expect(repository.health()).toMatchObject({ problem: null, id });
    expect(repository.health().revision).toBeGreaterThan(revision + 1);
    expect(await repository.update('a', increment)).toBe(1);
    const after = store.copy();
    const { state } = await (await after.open()).read('a');
    expect(state.hot).toMatchObject({ sequence: 2, lost: null });
    await after.dispose();
  });

  it.each(['while it is tried again', 'at a stop'])(
    'is no loss to a start after it, where the process ended %s',
    async (when) => {
      const repository = await opened();
      let starts = 0;
      store.before = ({ call }) => {
        if (call === 'open') starts += 1;
        if (call === 'open' || call === 'commit') throw systemError('SQLITE_FULL');
      };
      if (when === 'at a stop') {
        await repository.close();
      } else {
        await errorOf(repository.update('a', increment));
        time.advance(1_000);
        await until(() => starts === 1);
      }
      const again = await store.copy().open();
      expect((await again.update('a', look)).hot).toMatchObject({ sequence: 1, lost: null });
      await again.close();
    },
  );

  it('is tried once a second, by one timer, and heals without traffic', async () => {
    const repository = await opened();
    let requests = 0;
    store.before = () => {
      requests += 1;
      throw systemError('SQLITE_FULL');
    };
    await errorOf(repository.update('a', increment));
    for (let second = 0; second < 3; second += 1) {
      requests = 0;
      time.advance(999);
      expect(requests).toBe(0);
      time.advance(1);
      await until(() => time.pending === 1);
      expect(requests).toBeGreaterThan(0);
    }
    await heal(repository);
    expect(await repository.update('a', increment)).toBe(1);
  });

  it('that hangs is said to hang, and waited for', async () => {
    const repository = await opened();
    let release = () => {};
    const hung = new Promise<void>((resolve) => (release = resolve));
    let hangs = false;
    store.before = () => {
      hangs = true;
      return hung;
    };
    const update = repository.update('a', increment);
    await until(() => hangs);
    time.advance(4_999);
    expect(repository.health().healthy).toBe(true);
    time.advance(1);
    expect(repository.health().problem).toContain('has not ended for 5000 ms');
    release();
    expect(await update).toBe(1);
    expect(repository.health().healthy).toBe(true);
  });
});

describe('files that are changed under a running instance', () => {
  /** Puts the copies made earlier in the place of these files. */
  function bringBack(...endings: string[]): void {
    for (const ending of endings) {
      rmSync(`${store.path}${ending}`);
      copyFileSync(`${store.path}.old${ending}`, `${store.path}${ending}`);
    }
  }

  // What is lost with one of the files alone, the other and the open descriptors still have.
  const changes: Record<string, { readonly change: () => void; readonly loses: boolean }> = {
    'the database is removed': { change: () => rmSync(store.path), loses: true },
    'its log is removed': { change: () => rmSync(`${store.path}-wal`), loses: false },
    'an older database is put in its place': { change: () => bringBack(''), loses: false },
    'both are older ones': { change: () => bringBack('', '-wal'), loses: true },
    'a row is brought back to an older revision': {
      change: () => sql(`UPDATE scope_hot SET revision = 1, document = '{}'`),
      loses: true,
    },
    'all rows are deleted': { change: () => sql('DELETE FROM scope_hot'), loses: true },
  };
  it.each(Object.keys(changes))('%s: noticed, and mended from memory', async (name) => {
    const { change, loses } = changes[name]!;
    const repository = await opened();
    for (const ending of ['', '-wal']) {
      copyFileSync(`${store.path}${ending}`, `${store.path}.old${ending}`);
    }
    await repository.update('a', increment);
    const { id } = repository.health();
    change();
    time.advance(LOOK_EVERY_MS);
    expect((await errorOf(repository.update('a', increment))).code).toBe('STATE_UNAVAILABLE');
    expect(repository.health().problem).toContain('another program');
    await heal(repository);
    expect(repository.health().id).toBe(id);
    expect(await repository.update('a', increment)).toBe(2);
    const { state } = await repository.read('a');
    expect(state.hot.sequence).toBe(3);
    expect(state.hot.lost?.reason ?? null).toBe(loses ? 'rolled-back' : null);
    const crashed = store.copy();
    expect(await sequenceOf(await crashed.open(), 'a')).toBe(3);
    await crashed.dispose();
  });

  it('are written to until the next look, which loses nothing of it', async () => {
    const repository = await opened();
    rmSync(store.path);
    rmSync(`${store.path}-wal`);
    time.advance(LOOK_EVERY_MS - 1);
    expect(await repository.update('a', increment)).toBe(1);
    time.advance(1);
    expect((await errorOf(repository.update('a', increment))).code).toBe('STATE_UNAVAILABLE');
    await heal(repository);
    const crashed = store.copy();
    expect(await sequenceOf(await crashed.open(), 'a')).toBe(2);
    await crashed.dispose();
  });

  it('another program that reads holds nothing up', async () => {
    const repository = await opened();
    const reader = new Database(store.path, { readonly: true });
    reader.exec('BEGIN');
    expect(reader.prepare('SELECT count(*) FROM scope_hot').pluck().get()).toBe(1);
    for (let n = 1; n <= 50; n += 1) expect(await repository.update('a', increment)).toBe(n);
    time.advance(61_000);
    reader.close();
    expect(repository.health().healthy).toBe(true);
  });

  it('the lock: whoever took it meanwhile keeps it', async () => {
    const repository = await opened();
    rmSync(store.directory, { recursive: true });
    const second = await store.open({ instance: 'second' });
    time.advance(LOOK_EVERY_MS);
    expect((await errorOf(repository.update('a', increment))).code).toBe('STATE_UNAVAILABLE');
    time.advance(1_000);
    await until(() => repository.health().problem?.includes('"second"') === true);
    expect(await second.update('a', increment)).toBe(0);
  });
});

describe('a store that can’t be written at its start', () => {
  it.each([
    ['no directory', /^mkdir/, 'EROFS'],
    ['no owner or lock', /^(chmod|stat) state\.db\.lock/, 'EACCES'],
    ['no flush', /^handle\.sync/, 'EIO'],
  ])('opens all the same (%s), shows what it has, and heals', async (_, match, code) => {
    await (await opened()).close();
    if (code === 'EIO') rmSync(store.path);
    const disk = new FailingDisk();
    disk.fail(match, code);
    const repository = await store.open({ files: disk.files });
    expect(repository.health().healthy).toBe(false);
    expect(repository.health().problem).toContain(code);
    expect(await sequenceOf(repository, 'a')).toBe(1);
    expect((await errorOf(repository.update('a', increment))).code).toBe('STATE_UNAVAILABLE');
    disk.heal();
    await heal(repository);
    expect(await repository.update('a', increment)).toBe(1);
  });
});

describe('what stands beside state.db', () => {
  it('.bak follows within a minute, and at a clean stop', async () => {
    const saved = () => {
      if (!existsSync(`${store.path}.bak`)) return 0;
      const database = new Database(`${store.path}.bak`, { readonly: true });
      const document = database.prepare('SELECT document FROM scope_hot').pluck().get() as string;
      database.close();
      return (JSON.parse(document) as { sequence: number }).sequence;
    };
    const repository = await opened();
    time.advance(1_000);
    await until(() => saved() === 1);
    await repository.update('a', increment);
    time.advance(60_000);
    await until(() => saved() === 2);
    await repository.update('a', increment);
    await repository.close();
    expect(saved()).toBe(3);
    expect(store.names()).toEqual(['state.db', 'state.db.bak', 'state.db.lock']);
  });

  it.each([
    ['a full disk', /^handle\.sync state\.db\.bak/, 'ENOSPC', 'free space on its disk'],
    ['a directory in its place', /^rename state\.db\.bak/, 'EISDIR', 'move it away'],
  ])('.bak that can’t be written (%s) is told, and stops nothing', async (...row) => {
    const [, match, code, remedy] = row;
    const disk = new FailingDisk();
    const tried = () => disk.calls.filter((call) => match.test(call)).length;
    const repository = await store.open({ files: disk.files });
    disk.fail(match, code);
    await repository.update('a', increment);
    time.advance(1_000);
    await until(() => repository.health().problem !== null);
    expect(repository.health().healthy).toBe(true);
    expect(repository.health().problem).toContain(`${store.path}.bak can't be written (${code}`);
    expect(repository.health().problem).toContain(remedy);
    expect(tried()).toBe(1);
    // Charges go on, and no start is made meanwhile.
    time.advance(59_999);
    expect(await repository.update('a', increment)).toBe(1);
    expect(tried()).toBe(1);
    time.advance(1);
    await until(() => tried() === 2);
    expect(await repository.update('a', increment)).toBe(2);
    expect(repository.health()).toMatchObject({ healthy: true });
    disk.heal();
    time.advance(60_000);
    await until(() => repository.health().problem === null);
    expect(existsSync(`${store.path}.bak`)).toBe(true);
  });

  it('a log that can’t be emptied is more than that: the store is tried again', async () => {
    const repository = await opened();
    store.before = ({ call }) => {
      if (call === 'checkpoint') throw systemError('SQLITE_IOERR');
    };
    time.advance(60_000);
    await until(() => !repository.health().healthy);
    await heal(repository);
    expect(await repository.update('a', increment)).toBe(1);
  });

  it('belongs to one user alone', async () => {
    const repository = await opened();
    const modes = store.names().map((name) => statSync(join(store.directory, name)).mode & 0o777);
    expect(modes).toEqual(modes.map(() => 0o600));
    await repository.close();
  });

  it('the log does not grow without end', async () => {
    const repository = await opened();
    for (let n = 0; n < 16; n += 1) {
      // Another text each time: SQLite writes no page again that stays as it is.
      const extra = { padding: String(n % 10).repeat(512 * 1024) };
      await repository.update('a', (state) => ({
        state: { ...state, hot: { ...state.hot, sequence: n, ...extra } },
        outcome: null,
      }));
    }
    expect(statSync(`${store.path}-wal`).size).toBeLessThan(6 * 1024 * 1024);
    const crashed = store.copy();
    expect(await sequenceOf(await crashed.open(), 'a')).toBe(15);
    await crashed.dispose();
  });
});

const STRACE = spawnSync('strace', ['-V']).status === 0;
if (!STRACE) console.log('skipped: faults of single system calls, for want of strace');

describe.runIf(STRACE)('a real process, at a single system call', () => {
  beforeEach(() => {
    store = new SqliteStore();
  });

  function inject(fault: string): Child {
    const wrapper = ['strace', '-f', '-o', '/dev/null', '-e', `inject=${fault}`];
    return new Child([...wrapper, ...typescript('store-child.ts'), 'write', store.path, 'writer']);
  }

  function answered(child: Child): number {
    const answers = child.lines.filter((line) => line.startsWith('answered '));
    return Math.max(0, ...answers.map((line) => Number(line.split(' ')[1])));
  }

  it.each([40, 61, 90])('killed at write number %i: no answered update is lost', async (number) => {
    const child = inject(`pwrite64:signal=KILL:when=${number}`);
    await child.ended;
    const repository = await store.open();
    const { state } = await repository.read('a');
    expect(state.hot.sequence).toBeGreaterThanOrEqual(answered(child));
    expect(state.hot.lost).toBeNull();
    expect(await repository.update('a', increment)).toBe(state.hot.sequence);
  });

  it('a flush that fails leaves the outcome unknown', async () => {
    const child = inject('fdatasync,fsync:error=EIO:when=40+');
    expect(await child.says('STATE_')).toMatch(/^STATE_UNKNOWN: .*could not be flushed/);
    await child.kill();
    expect(await sequenceOf(await store.open(), 'a')).toBeGreaterThanOrEqual(answered(child));
  });

  it('a write that fails has not happened', async () => {
    const child = inject('pwrite64:error=ENOSPC:when=70+');
    expect(await child.says('STATE_')).toMatch(/^STATE_UNAVAILABLE: .*free space|SQLITE_FULL|full/);
    await child.kill();
    expect(await sequenceOf(await store.open(), 'a')).toBeGreaterThanOrEqual(answered(child));
  });
});

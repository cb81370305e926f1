import {
  copyFileSync,
  existsSync,
  readFileSync,
  rmSync,
  type Stats,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SYSTEM_FILES } from '../../src/platform/durable-file.js';
import { hasCode } from '../../src/platform/tidegate-error.js';
import type { Decide, StateRepository } from '../../src/state/state-repository.js';
import { FileStore } from '../support/file-store.js';
import { errorOf } from '../support/look-at-store.js';
import { ManualTime } from '../support/manual-time.js';
import { increment, look, sequenceOf, setSequence } from '../support/scope-states.js';
import { until } from '../support/until.js';
import { FailingDisk, watchedFiles } from '../support/watched-files.js';

let time: ManualTime;
let store: FileStore;
let disk: FailingDisk;
beforeEach(() => {
  time = new ManualTime();
  store = new FileStore(time);
  disk = new FailingDisk();
});
afterEach(() => store.dispose());

/** A store on the failing disk whose scope `a` stands at 1, by the journal. */
async function opened(): Promise<StateRepository> {
  const repository = await store.open({ files: disk.files });
  await repository.update('a', increment);
  return repository;
}

/** The disk is well again, and the store gets the second it needs to notice. */
async function heal(repository: StateRepository): Promise<void> {
  disk.heal();
  time.advance(1_000);
  await until(() => repository.health().healthy);
}

function savedSequence(path = store.path): number {
  const document = JSON.parse(readFileSync(path, 'utf8')) as {
    scopes: { a?: { hot: { sequence: number } } };
  };
  return document.scopes.a?.hot.sequence ?? 0;
}

/** Passes seconds until state.json says so: in one that a write of it is under way none begins. */
function untilSaved(sequence: number): Promise<void> {
  return until(() => {
    if (savedSequence() === sequence) return true;
    time.advance(1_000);
    return false;
  });
}

/** As the store has it: a commit looks at the files if none has within this time. */
const LOOK_EVERY_MS = 100;

const SURE = 'STATE_UNAVAILABLE';
const UNKNOWN = 'STATE_UNKNOWN';

describe.each([
  ['no room', 'ENOSPC', SURE],
  ['no quota', 'EDQUOT', SURE],
  ['a bad block', 'EIO', UNKNOWN],
])('writing the journal fails for %s', (_, code, expected) => {
  it(`(${code}): all in it get ${expected}, memory goes back, and it heals`, async () => {
    const repository = await opened();
    const { id, revision } = repository.health();
    disk.fail(/^handle\.write state\.json\.journal/, code);
    const sharing = [
      errorOf(repository.update('a', increment)),
      errorOf(repository.update('a', look)),
      errorOf(repository.update('a', increment)),
    ];
    for (const error of await Promise.all(sharing)) expect(error.code).toBe(expected);

    expect(await sequenceOf(repository, 'a')).toBe(1);
    const { healthy, problem } = repository.health();
    expect(healthy).toBe(false);
    expect(problem).toContain(store.directory);
    expect(problem).toContain(code);
    // What was answered is on disk still, whatever else is.
    const crashed = store.copy();
    expect(await sequenceOf(await crashed.open(), 'a')).toBeGreaterThanOrEqual(1);
    await crashed.dispose();

    await heal(repository);
    expect(repository.health()).toMatchObject({ problem: null, id });
    expect(repository.health().revision).toBeGreaterThan(revision + 1);
    expect(savedSequence()).toBe(1);
    expect(await repository.update('a', increment)).toBe(1);
    // What was refused is not there, not even in what a crash leaves.
    const after = store.copy();
    const { state } = await (await after.open()).read('a');
    expect(state.hot).toMatchObject({ sequence: 2, lost: null });
    await after.dispose();
  });
});

const SAVING = [
  ['making the new file', /^open state\.json\.tmp/, 'EROFS'],
  ['writing the new file', /^handle\.writeFile state\.json\.tmp/, 'ENOSPC'],
  ['flushing the new file', /^handle\.sync state\.json\.tmp/, 'EIO'],
  ['keeping the old one', /^link state\.json/, 'EDQUOT'],
  ['renaming the new file', /^rename state\.json\.tmp/, 'EACCES'],
  ['flushing the directory', /^handle\.sync data/, 'EIO'],
] as const;

describe.each(SAVING)('writing state.json fails: %s', (_, match, code) => {
  it(`(${code}): charges go on, health says it, no crash loses any, and it heals`, async () => {
    const repository = await opened();
    disk.fail(match, code);
    for (let sequence = 1; sequence < 4; sequence += 1) {
      time.advance(1_000);
      await until(() => repository.health().problem !== null);
      const { healthy, problem } = repository.health();
      expect(healthy).toBe(true);
      expect(problem).toContain(code);
      expect(problem).toContain(store.directory);
      expect(await repository.update('a', increment)).toBe(sequence);
      const crashed = store.copy();
      const { state } = await (await crashed.open()).read('a');
      expect(state.hot).toMatchObject({ sequence: sequence + 1, lost: null });
      await crashed.dispose();
    }
    disk.heal();
    await untilSaved(4);
    await until(() => repository.health().problem === null);
    expect(store.names()).not.toContain('state.json.tmp');
    expect(await repository.update('a', increment)).toBe(4);
  });
});

describe('a store that can’t be written', () => {
  it('refuses changes without touching the disk, and answers what changes nothing', async () => {
    const repository = await opened();
    disk.fail(/journal/, 'ENOSPC');
    await errorOf(repository.update('a', increment));
    disk.calls.length = 0;
    const refused = await errorOf(repository.update('a', increment));
    expect(hasCode(refused, 'STATE_UNAVAILABLE')).toBe(true);
    expect((await repository.update('a', look)).hot.sequence).toBe(1);
    expect(disk.calls).toEqual([]);
  });

  it('is tried once a second, by one timer, and heals without traffic', async () => {
    const repository = await opened();
    disk.fail(/^(open|handle\.write) /, 'ENOSPC');
    await errorOf(repository.update('a', increment));
    for (let second = 0; second < 5; second += 1) {
      disk.calls.length = 0;
      time.advance(999);
      expect(disk.calls).toEqual([]);
      time.advance(1);
      await until(() => time.pending === 1);
      expect(disk.calls).not.toEqual([]);
    }
    expect(repository.health().healthy).toBe(false);
    await heal(repository);
    expect(savedSequence()).toBe(1);
  });

  it('refuses changes too when the journals are full and state.json can’t follow', async () => {
    const repository = await opened();
    disk.fail(/^rename state\.json\.tmp/, 'EROFS');
    const padded = (n: number): Decide<null> => {
      const extra = { padding: 'x'.repeat(8 * 1024 * 1024) };
      return (state) => ({
        state: { ...state, hot: { ...state.hot, sequence: n, ...extra } },
        outcome: null,
      });
    };
    let written = 1;
    const filling = async () => {
      for (;;) {
        await repository.update('a', padded(written + 1));
        written += 1;
      }
    };
    expect(await errorOf(filling())).toMatchObject({ code: 'STATE_UNAVAILABLE' });
    expect(written, 'records of 8 MiB').toBeGreaterThan(7);
    expect(written).toBeLessThan(18);
    expect(repository.health()).toMatchObject({ healthy: false });
    expect(repository.health().problem).toContain('EROFS');
    await heal(repository);
    expect(savedSequence()).toBe(written);
    expect(await repository.update('a', increment)).toBe(written);
  });

  it('never writes to a journal again that a write has failed in', async () => {
    const repository = await opened();
    disk.fail(/^handle\.write /, 'EIO');
    await errorOf(repository.update('a', increment));
    const position = disk.calls.length;
    await heal(repository);
    await repository.update('a', increment);
    expect(disk.calls.slice(position)).toContain('rm state.json.journal');
    expect(disk.calls.slice(position)).toContain('open state.json.journal');
  });

  it('says so while a write hangs, keeps the order, and recovers when it ends', async () => {
    let release = () => {};
    const hung = new Promise<void>((resolve) => (release = resolve));
    let hanging: boolean | null = null;
    const files = watchedFiles({
      before: ({ operation }) => {
        if (operation !== 'handle.write' || hanging !== false) return undefined;
        hanging = true;
        return hung;
      },
    });
    const repository = await store.open({ files });
    hanging = false;
    const first = repository.update('a', increment);
    await until(() => hanging === true);
    const second = repository.update('a', increment);
    time.advance(4_999);
    expect(repository.health().healthy).toBe(true);
    time.advance(1);
    expect(repository.health().problem).toContain(store.path);
    expect(await sequenceOf(repository, 'a')).toBe(0);
    release();
    expect(await Promise.all([first, second])).toEqual([0, 1]);
    expect(repository.health().healthy).toBe(true);
  });

  it('says so while state.json hangs, and goes on all the same', async () => {
    let release = () => {};
    const hung = new Promise<void>((resolve) => (release = resolve));
    let hangs = false;
    const files = watchedFiles({
      before: ({ operation }) => (hangs && operation === 'handle.sync' ? hung : undefined),
    });
    const repository = await store.open({ files });
    await repository.update('a', increment);
    hangs = true;
    time.advance(1_000);
    await until(() => store.names().includes('state.json.tmp'));
    time.advance(4_999);
    expect(repository.health().problem).toBeNull();
    time.advance(1);
    expect(repository.health()).toMatchObject({ healthy: true });
    expect(repository.health().problem).toContain(store.path);
    expect(await repository.update('a', increment)).toBe(1);
    hangs = false;
    release();
    await until(() => repository.health().problem === null);
    time.advance(1_000);
    await until(() => savedSequence() === 2);
  });

  it('closes, and lets go of the lock', async () => {
    const repository = await opened();
    disk.fail(/journal|tmp/, 'EIO');
    await errorOf(repository.update('a', increment));
    await repository.close();
    expect(time.pending).toBe(0);
    expect(await sequenceOf(await store.open(), 'a')).toBeGreaterThanOrEqual(1);
  });
});

describe('journals that are changed under a running instance', () => {
  const changes: Record<string, () => void> = {
    'both are removed': () => {
      rmSync(`${store.path}.journal`);
      rmSync(`${store.path}.journal2`);
    },
    'the one in use is removed': () => rmSync(`${store.path}.journal`),
    'the resting one is removed': () => rmSync(`${store.path}.journal2`),
    'a copy is put in its place': () => {
      copyFileSync(`${store.path}.journal`, `${store.path}.copy`);
      rmSync(`${store.path}.journal`);
      copyFileSync(`${store.path}.copy`, `${store.path}.journal`);
    },
    'it is cut short': () => truncateSync(`${store.path}.journal`, 100),
  };

  it.each(Object.keys(changes))('%s: noticed by a commit, and mended from memory', async (name) => {
    const repository = await opened();
    const { id } = repository.health();
    changes[name]!();
    time.lag(LOOK_EVERY_MS);
    const refused = await errorOf(repository.update('a', increment));
    expect(refused).toMatchObject({ code: 'STATE_UNAVAILABLE' });
    expect(refused.message).toContain(store.path);
    expect(repository.health()).toMatchObject({ healthy: false });
    await heal(repository);
    expect(repository.health().id).toBe(id);
    expect(await repository.update('a', increment)).toBe(1);
    // The lock was held all the time, so nobody else can have written.
    expect((await repository.read('a')).state.hot).toMatchObject({ sequence: 2, lost: null });
    const crashed = store.copy();
    const { state } = await (await crashed.open()).read('a');
    expect(state.hot).toMatchObject({ sequence: 2, lost: null });
    await crashed.dispose();
  });

  it('are missed before state.json is written, too, without any commit', async () => {
    const repository = await opened();
    changes['both are removed']!();
    time.advance(1_000);
    await until(() => !repository.health().healthy);
    await heal(repository);
    expect(store.names()).toContain('state.json.journal');
    expect(savedSequence()).toBe(1);
  });

  it('are written to until the next look, which loses nothing of it', async () => {
    const repository = await opened();
    changes['both are removed']!();
    time.lag(LOOK_EVERY_MS - 1);
    expect(await repository.update('a', increment)).toBe(1);
    time.lag(1);
    await errorOf(repository.update('a', increment));
    await heal(repository);
    const crashed = store.copy();
    expect(await sequenceOf(await crashed.open(), 'a')).toBe(2);
    await crashed.dispose();
  });

  it('are looked at ten times a second at most, whatever the commits', async () => {
    const repository = await opened();
    disk.calls.length = 0;
    for (let n = 0; n < 50; n += 1) await repository.update('a', increment);
    expect(disk.calls.filter((call) => call.startsWith('stat '))).toEqual([]);
    time.lag(LOOK_EVERY_MS);
    for (let n = 0; n < 50; n += 1) await repository.update('a', increment);
    const looks = disk.calls.filter((call) => call === 'stat state.json.journal');
    expect(looks).toHaveLength(1);
  });

  it('control: without the look, a crash loses what was answered since', async () => {
    const seen = new Map<string, Stats>();
    const stat = async (path: string) => seen.get(path) ?? SYSTEM_FILES.stat(path);
    const files = { ...SYSTEM_FILES, stat: stat as typeof SYSTEM_FILES.stat };
    const repository = await store.open({ files });
    await repository.update('a', increment);
    for (const name of ['journal', 'journal2']) {
      seen.set(`${store.path}.${name}`, statSync(`${store.path}.${name}`));
    }
    changes['both are removed']!();
    time.lag(LOOK_EVERY_MS);
    expect(await repository.update('a', increment)).toBe(1);
    const crashed = store.copy();
    expect(await sequenceOf(await crashed.open(), 'a')).toBe(0);
    await crashed.dispose();
  });
});

describe('a directory that goes away', () => {
  it('is made anew with all that was in memory, marked as doubtful', async () => {
    const repository = await opened();
    const { id } = repository.health();
    rmSync(store.directory, { recursive: true });
    time.lag(1_000);
    expect((await errorOf(repository.update('a', increment))).code).toBe('STATE_UNAVAILABLE');
    await heal(repository);
    expect(repository.health().id).toBe(id);
    expect(savedSequence()).toBe(1);
    expect((await repository.read('a')).state.hot.lost).toMatchObject({ reason: 'rolled-back' });
    await expect(store.open({ instance: 'second' })).rejects.toMatchObject({
      code: 'STATE_LOCKED',
    });
  });

  it('stays lost to whoever locked it meanwhile, whose files are left alone', async () => {
    const repository = await opened();
    rmSync(store.directory, { recursive: true });
    const second = await store.open({ instance: 'second' });
    const theirs = readFileSync(store.path, 'utf8');
    time.advance(1_000);
    await until(() => !repository.health().healthy);
    time.advance(1_000);
    await until(() => repository.health().problem?.includes('"second"') === true);
    expect((await errorOf(repository.update('a', increment))).code).toBe('STATE_UNAVAILABLE');
    expect(readFileSync(store.path, 'utf8')).toBe(theirs);
    expect(await second.update('a', increment)).toBe(0);
  });

  it('that is new outlives a power cut, entry in its parent and all', async () => {
    await opened();
    const parent = basename(dirname(store.directory));
    const steps = [`mkdir data`, `handle.sync ${parent}`, 'rename state.json.tmp'];
    const order = steps.map((step) => disk.calls.indexOf(step));
    expect(order).not.toContain(-1);
    expect(order).toEqual(order.toSorted((a, b) => a - b));
  });
});

describe('a store that can’t be written at its start', () => {
  async function filled(): Promise<void> {
    const repository = await store.open();
    await repository.update('a', setSequence(7));
    await repository.close();
  }

  it.each([
    ['no directory', /^mkdir/, 'EROFS'],
    ['no owner or lock', /^(chmod|stat) state\.json\.lock/, 'EACCES'],
    ['a full disk', /tmp/, 'ENOSPC'],
    ['no journal', /^open state\.json\.journal/, 'ENOSPC'],
  ])('opens all the same (%s), shows what it has, and heals', async (_, match, code) => {
    await filled();
    disk.fail(match, code);
    const repository = await store.open({ files: disk.files });
    expect(repository.health().healthy).toBe(false);
    expect(repository.health().problem).toContain(code);
    expect(await sequenceOf(repository, 'a')).toBe(7);
    expect((await errorOf(repository.update('a', increment))).code).toBe('STATE_UNAVAILABLE');
    await heal(repository);
    expect(await repository.update('a', increment)).toBe(7);
    expect((await repository.read('a')).state.hot.lost).toBeNull();
  });

  it('has no state to lose at a first start', async () => {
    disk.fail(/tmp/, 'ENOSPC');
    const repository = await store.open({ files: disk.files });
    expect(repository.health()).toMatchObject({ healthy: false, id: '' });
    await heal(repository);
    expect(repository.health().id).not.toBe('');
    expect((await repository.read('a')).state.hot.lost).toBeNull();
  });

  it('does not forget a loss that it could not write down at once', async () => {
    await filled();
    writeFileSync(store.path, '');
    disk.fail(/tmp/, 'ENOSPC');
    const repository = await store.open({ files: disk.files });
    expect((await repository.read('a')).state.hot.lost).not.toBeNull();
    await heal(repository);
    const crashed = store.copy();
    expect((await (await crashed.open()).read('a')).state.hot.lost).not.toBeNull();
    await crashed.dispose();
  });

  it('waits for an instance that came first, and goes on with its state', async () => {
    await filled();
    disk.fail(/^mkdir/, 'EACCES');
    const repository = await store.open({ files: disk.files });
    const first = await store.open({ instance: 'first' });
    disk.heal();
    time.advance(1_000);
    await until(() => repository.health().problem?.includes('"first"') === true);
    await first.update('a', setSequence(8));
    await first.close();
    await heal(repository);
    expect(await sequenceOf(repository, 'a')).toBe(8);
  });
});

describe('state.json', () => {
  it('is never missing while it is replaced, and .bak is the version before', async () => {
    let missing = 0;
    const files = watchedFiles({
      before: () => void (existsSync(store.path) || (missing += 1)),
      after: () => void (existsSync(store.path) || (missing += 1)),
    });
    const repository = await store.open({ files });
    missing = 0;
    for (const sequence of [1, 2, 3]) {
      await repository.update('a', setSequence(sequence));
      await untilSaved(sequence);
    }
    expect(missing).toBe(0);
    expect(savedSequence()).toBe(3);
    expect(savedSequence(`${store.path}.bak`)).toBe(2);
  });

  it('has a .bak too where there are no hard links', async () => {
    disk.fail(/^link/, 'EPERM');
    const repository = await opened();
    for (const sequence of [2, 3]) {
      await repository.update('a', setSequence(sequence));
      await untilSaved(sequence);
    }
    expect(savedSequence(`${store.path}.bak`)).toBe(2);
    expect(repository.health().healthy).toBe(true);
  });

  it('is at most a second behind the journal, and not behind after a clean stop', async () => {
    const repository = await opened();
    await repository.update('a', setSequence(5));
    expect(existsSync(`${store.path}.journal`)).toBe(true);
    time.advance(1_000);
    await until(() => savedSequence() === 5);
    await repository.update('a', setSequence(6));
    await repository.close();
    expect(savedSequence()).toBe(6);
    expect(store.names()).toEqual([
      'state.json',
      'state.json.bak',
      'state.json.journal',
      'state.json.journal2',
      'state.json.lock',
    ]);
  });

  it('is rewritten by whoever fills the journal, which does not grow without end', async () => {
    const repository = await opened();
    const extra = { padding: 'x'.repeat(1024 * 1024) };
    let updates = 0;
    const update = () =>
      repository.update('a', (state) => ({
        state: { ...state, hot: { ...state.hot, sequence: (updates += 1), ...extra } },
        outcome: null,
      }));
    // Which of them makes it rewrite depends on how long the one before takes.
    await until(async () => {
      await update();
      return updates >= 20 && savedSequence() > 8;
    }, 20_000);
    for (const name of ['journal', 'journal2']) {
      expect(statSync(`${store.path}.${name}`).size).toBeLessThan(12 * 1024 * 1024);
    }
    const crashed = store.copy();
    expect(await sequenceOf(await crashed.open(), 'a')).toBe(updates);
    await crashed.dispose();
  });

  it('and all beside it belong to one user alone', async () => {
    await (await opened()).close();
    const modes = store.names().map((name) => statSync(join(store.directory, name)).mode & 0o777);
    expect(modes).toEqual(modes.map(() => 0o600));
    expect(statSync(store.directory).mode & 0o777).toBe(0o700);
  });

  it('is for people to read', async () => {
    await (await opened()).close();
    const text = readFileSync(store.path, 'utf8');
    expect(text).toMatch(/^\{\n {2}"tidegate": "state",\n {2}"schema": \{\n/);
    expect(text).toContain('"savedAtText": "2025-11-23T00:00:00.000Z"');
  });
});

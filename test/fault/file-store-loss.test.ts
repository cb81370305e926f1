import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { encodeDocument } from '../../src/state/file/document.js';
import { inspectFiles } from '../../src/state/file/inspect.js';
import type { FoundState } from '../../src/state/held-state.js';
import { SCHEMA } from '../../src/state/scope-state.js';
import type { Decide } from '../../src/state/state-repository.js';
import { FileStore } from '../support/file-store.js';
import { lossOf, setAsideNames, withoutLock } from '../support/look-at-store.js';
import type { SetAside } from '../../src/state/set-aside.js';
import { ManualTime } from '../support/manual-time.js';
import { increment, sequenceOf, setSequence } from '../support/scope-states.js';
import { until } from '../support/until.js';
import { FailingDisk, watchedFiles } from '../support/watched-files.js';

let time: ManualTime;
let store: FileStore;
/** A store whose state.json says 20, its .bak 10, and whose journal leads from there to 20. */
beforeEach(async () => {
  time = new ManualTime();
  store = new FileStore(time);
  const first = await store.open();
  await first.update('a', setSequence(10));
  await first.close();
  const second = await store.open();
  await second.update('a', setSequence(20));
  await second.close();
});
afterEach(() => store.dispose());

const damage: Record<string, () => void> = {
  empty: () => truncateSync(store.path, 0),
  'cut short': () => truncateSync(store.path, Math.floor(statSync(store.path).size / 2)),
  'filled with zeros': () => writeFileSync(store.path, Buffer.alloc(500)),
  'a bit flipped in a name': () => {
    const bytes = readFileSync(store.path);
    const at = bytes.indexOf('"revision"') + 1;
    bytes[at] = bytes[at]! ^ 1;
    writeFileSync(store.path, bytes);
  },
  'something else': () => writeFileSync(store.path, '{"name": "package"}\n'),
  'a directory': () => {
    rmSync(store.path);
    mkdirSync(store.path);
  },
};

describe('a damaged state.json', () => {
  it.each(Object.keys(damage))('(%s) is set aside, .bak and journal restored', async (kind) => {
    damage[kind]!();
    const damaged =
      existsSync(store.path) && statSync(store.path).isFile() && readFileSync(store.path);
    const told: SetAside[] = [];
    const repository = await store.open({ onSetAside: (file) => told.push(file) });
    expect(await sequenceOf(repository, 'a')).toBe(20);
    const lost = { reason: 'restored', at: time.wall(), recordedAt: null };
    expect(await lossOf(repository)).toEqual(lost);
    expect(await lossOf(repository, 'never seen')).toEqual(lost);
    expect(repository.health()).toMatchObject({ healthy: true });
    expect(setAsideNames(store)).toEqual(['state.json.corrupt-2025-11-23T00-00-00-000Z']);
    const as = join(store.directory, setAsideNames(store)[0]!);
    expect(told).toEqual([{ path: store.path, as, why: expect.stringMatching(/\w \w/) }]);
    if (damaged) {
      expect(readFileSync(join(store.directory, setAsideNames(store)[0]!))).toEqual(damaged);
    }
  });

  it.each(['EACCES', 'EIO'])('that can’t be read (%s) counts as damaged', async (code) => {
    const disk = new FailingDisk();
    disk.fail(/^readFile state\.json$/, code);
    const repository = await store.open({ files: disk.files });
    expect(await lossOf(repository)).toMatchObject({ reason: 'restored' });
    expect(await sequenceOf(repository, 'a')).toBe(20);
  });

  it('is restored from the .bak alone where the journal is gone', async () => {
    damage['empty']!();
    rmSync(`${store.path}.journal`);
    const repository = await store.open();
    expect(await sequenceOf(repository, 'a')).toBe(10);
    expect(await lossOf(repository)).toMatchObject({ reason: 'restored' });
  });

  it('in which a digit is another, by a person or a bit, is taken but not trusted', async () => {
    const text = readFileSync(store.path, 'utf8');
    writeFileSync(store.path, text.replace('"sequence": 20', '"sequence": 21'));
    const repository = await store.open();
    expect(await sequenceOf(repository, 'a')).toBe(21);
    const lost = { reason: 'altered', at: time.wall(), recordedAt: null };
    expect(await lossOf(repository)).toEqual(lost);
    expect(await lossOf(repository, 'never seen')).toEqual(lost);
    expect(setAsideNames(store)).toEqual([]);
  });

  it('written anew by another program keeps all its fields', async () => {
    const raw = JSON.parse(readFileSync(store.path, 'utf8')) as {
      scopes: Record<string, { hot: object }>;
    };
    const extended = { ...raw, later: 1 };
    extended.scopes['a'] = { ...raw.scopes['a']!, hot: { ...raw.scopes['a']!.hot, later: 2 } };
    writeFileSync(store.path, JSON.stringify(extended));
    const repository = await store.open();
    await repository.update('a', increment);
    await repository.close();
    expect(JSON.parse(readFileSync(store.path, 'utf8'))).toMatchObject({
      later: 1,
      scopes: { a: { hot: { later: 2, sequence: 21 } } },
    });
  });

  it('is not called damaged when it could not be opened for a reason of ours', async () => {
    const disk = new FailingDisk();
    disk.fail(/^readFile state\.json$/, 'EMFILE');
    const repository = await store.open({ files: disk.files });
    expect(repository.health()).toMatchObject({ healthy: false, id: '' });
    disk.heal();
    time.advance(1_000);
    await until(() => repository.health().healthy);
    expect(await sequenceOf(repository, 'a')).toBe(20);
    expect(await lossOf(repository)).toBeNull();
  });

  it('without a .bak leaves nothing but the knowledge that there was something', async () => {
    const before = await store.open();
    await before.close();
    damage['cut short']!();
    rmSync(`${store.path}.bak`);
    const repository = await store.open();
    expect(await repository.list()).toEqual([]);
    expect(await lossOf(repository)).toMatchObject({ reason: 'corrupt' });
    expect(repository.health().id).not.toBe(before.health().id);
  });

  it('with a damaged .bak: both are set aside', async () => {
    damage['empty']!();
    writeFileSync(`${store.path}.bak`, 'x');
    const repository = await store.open();
    expect(await lossOf(repository)).toMatchObject({ reason: 'restored' });
    expect(await sequenceOf(repository, 'a'), 'what the journal had').toBe(20);
    expect(setAsideNames(store)).toHaveLength(2);
  });

  it('loses nothing of what the journal has', async () => {
    const repository = await store.open();
    await repository.update('a', setSequence(30));
    await repository.update('b', setSequence(5));
    const crashed = store.copy();
    writeFileSync(crashed.path, '');
    const again = await crashed.open();
    expect(await sequenceOf(again, 'a')).toBe(30);
    expect(await sequenceOf(again, 'b')).toBe(5);
    expect(await lossOf(again, 'b')).toMatchObject({ reason: 'restored' });
    await crashed.dispose();
  });

  it('keeps its markers over restarts, until somebody acts on them', async () => {
    damage['empty']!();
    await (await store.open()).close();
    const again = await store.open();
    expect(await lossOf(again)).toMatchObject({ reason: 'restored' });
    await again.update('a', (state) => ({
      state: { ...state, hot: { ...state.hot, lost: null } },
      outcome: null,
    }));
    await again.update('late', increment);
    await again.close();
    const third = await store.open();
    expect(await lossOf(third, 'a')).toBeNull();
    expect(await lossOf(third, 'late')).toMatchObject({ reason: 'restored' });
    expect(await lossOf(third, 'later')).toMatchObject({ reason: 'restored' });
  });

  it('set aside twice in one millisecond keeps both', async () => {
    for (const content of ['first', 'second']) {
      writeFileSync(store.path, content);
      await (await store.open()).close();
    }
    const contents = setAsideNames(store).map((name) =>
      readFileSync(join(store.directory, name), 'utf8'),
    );
    expect(contents.toSorted()).toEqual(['first', 'second']);
  });
});

describe('a missing state.json', () => {
  /** Leaves only these files in the directory. */
  function keep(...kept: string[]): void {
    for (const name of readdirSync(store.directory)) {
      if (!kept.includes(name)) rmSync(join(store.directory, name));
    }
  }

  it('beside a .bak is restored from it', async () => {
    keep('state.json.bak');
    const repository = await store.open();
    expect(await lossOf(repository)).toMatchObject({ reason: 'restored' });
    expect(await sequenceOf(repository, 'a')).toBe(10);
  });

  it.each([
    'state.json.lock',
    'state.json.owner',
    'state.json.journal',
    'state.json.corrupt-2025-11-22T00-00-00-000Z',
  ])('beside %s is a loss', async (name) => {
    keep();
    writeFileSync(join(store.directory, name), '');
    const repository = await store.open();
    expect(await lossOf(repository)).toMatchObject({ reason: 'missing' });
    expect(await repository.list()).toEqual([]);
  });

  it('in an empty directory is a first start, which the operator may mistrust', async () => {
    keep();
    const trusting = await store.open();
    expect(await lossOf(trusting)).toBeNull();
    await trusting.close();
    keep();
    const cautious = await store.open({ loss: { onEmpty: 'cautious' } });
    expect(await lossOf(cautious)).toMatchObject({ reason: 'empty' });
    await cautious.close();
    // Only the first start.
    expect(await lossOf(await store.open(), 'b')).toMatchObject({ reason: 'empty' });
  });
});

describe('a damaged journal', () => {
  it('is set aside, and what is whole in it applied', async () => {
    const repository = await store.open();
    for (const sequence of [31, 32, 33]) await repository.update('a', setSequence(sequence));
    const crashed = store.copy();
    const path = `${crashed.path}.journal`;
    const bytes = readFileSync(path);
    const first = bytes.indexOf('\n') + 1;
    bytes[first + 20] = bytes[first + 20]! ^ 1;
    writeFileSync(path, bytes);
    const again = await crashed.open();
    expect(await sequenceOf(again, 'a')).toBe(33);
    expect(await lossOf(again)).toMatchObject({ reason: 'restored' });
    const aside = crashed.names().filter((name) => name.startsWith('state.json.journal.corrupt-'));
    expect(aside.map((name) => readFileSync(join(crashed.directory, name)))).toEqual([bytes]);
    await crashed.dispose();
  });

  it('that can’t be opened is one too', async () => {
    rmSync(`${store.path}.journal`);
    mkdirSync(`${store.path}.journal`);
    const repository = await store.open();
    expect(await sequenceOf(repository, 'a')).toBe(20);
    expect(await lossOf(repository)).toMatchObject({ reason: 'restored' });
    expect(await repository.update('a', increment)).toBe(20);
  });

  it('under the policy refuse stops the start', async () => {
    const repository = await store.open();
    for (const sequence of [31, 32]) await repository.update('a', setSequence(sequence));
    const crashed = store.copy();
    const path = `${crashed.path}.journal`;
    writeFileSync(path, readFileSync(path, 'utf8').replace('31', '37'));
    const refused = crashed.open({ loss: { onCorrupt: 'refuse' } });
    await expect(refused).rejects.toMatchObject({ code: 'STATE_CORRUPT' });
    await crashed.dispose();
  });
});

describe('what a later version has added to a scope', () => {
  const later = { later: { x: 1 } };
  const withLater: Decide<null> = (state) => ({ state: { ...state, ...later }, outcome: null });

  it('outlives a crash with commits that leave it alone in the journal', async () => {
    const first = await store.open();
    await first.update('a', withLater);
    await first.close();
    const second = await store.open();
    await second.update('a', increment);
    const crashed = store.copy();
    const { state } = await (await crashed.open()).read('a');
    expect(state).toMatchObject({ ...later, hot: { sequence: 21 } });
    await crashed.dispose();
  });

  it('outlives one before it is in state.json, too, as `state copy` writes it', async () => {
    const repository = await store.open();
    await repository.update('new', withLater);
    const crashed = store.copy();
    expect((await (await crashed.open()).read('new')).state).toMatchObject(later);
    await crashed.dispose();
  });
});

describe('journals that are gone after a kill', () => {
  /** What a process leaves that was killed with a commit in its journals, before or after a save. */
  async function killed(saves: boolean): Promise<FileStore> {
    const repository = await store.open();
    if (saves) {
      await repository.update('a', setSequence(25));
      // Another file takes its place; both may have been written within one tick of the clock of times.
      const { ino } = statSync(store.path);
      time.advance(1_000);
      await until(() => statSync(store.path).ino !== ino);
    }
    await repository.update('a', setSequence(30));
    const left = store.copy();
    await repository.close();
    return left;
  }

  const removal: Record<string, (path: string) => void> = {
    'both removed': (path) => {
      for (const name of ['journal', 'journal2']) rmSync(`${path}.${name}`);
    },
    'both emptied': (path) => {
      for (const name of ['journal', 'journal2']) truncateSync(`${path}.${name}`);
    },
    'the first removed': (path) => rmSync(`${path}.journal`),
    'the second removed': (path) => rmSync(`${path}.journal2`),
    'both removed, .bak in the place of state.json': (path) => {
      removal['both removed']!(path);
      copyFileSync(`${path}.bak`, path);
    },
  };
  const cases = [false, true].flatMap((saves) =>
    Object.keys(removal).map((kind) => [kind, saves ? 'after a save' : 'before one', saves]),
  ) as [string, string, boolean][];

  it.each(cases)('(%s, %s) mean that state.json is older than what was', async (kind, _, saves) => {
    const left = await killed(saves);
    removal[kind]!(left.path);
    expect(await inspectFiles(left.path)).toMatchObject({ loss: 'rolled-back' });
    const before = withoutLock(left);
    const refused = left.open({ loss: { onCorrupt: 'refuse' } });
    await expect(refused).rejects.toMatchObject({
      code: 'STATE_CORRUPT',
      message: expect.stringContaining(`${left.path}.journal`),
    });
    expect(withoutLock(left)).toEqual(before);
    const repository = await left.open();
    expect(await lossOf(repository)).toMatchObject({ reason: 'rolled-back' });
    expect(await lossOf(repository, 'never seen')).toMatchObject({ reason: 'rolled-back' });
    // Written down at once, and no new loss at the next start.
    const again = left.copy();
    expect(await inspectFiles(again.path)).toMatchObject({ loss: null });
    expect(await lossOf(await again.open())).toMatchObject({ reason: 'rolled-back' });
    await again.dispose();
    await left.dispose();
  });

  it.each([false, true])('control: untouched they lose nothing (saved: %s)', async (saves) => {
    const left = await killed(saves);
    const repository = await left.open();
    expect(await sequenceOf(repository, 'a')).toBe(30);
    expect(await lossOf(repository)).toBeNull();
    await left.dispose();
  });

  it('are enough for a .bak that is put in the place of state.json', async () => {
    const left = await killed(true);
    copyFileSync(`${left.path}.bak`, left.path);
    const repository = await left.open();
    expect(await sequenceOf(repository, 'a')).toBe(30);
    expect(await lossOf(repository)).toBeNull();
    await left.dispose();
  });

  it.each(Object.keys(removal).slice(0, 4))(
    'are not missed after a clean stop: %s',
    async (kind) => {
      removal[kind]!(store.path);
      const repository = await store.open();
      expect(await sequenceOf(repository, 'a')).toBe(20);
      expect(await lossOf(repository)).toBeNull();
    },
  );
});

describe('a start that is refused leaves everything as it was', () => {
  const files = Object.keys(damage).filter((kind) => kind !== 'a directory');
  it.each(files)('state.json %s, under the policy refuse', async (kind) => {
    damage[kind]!();
    const before = withoutLock(store);
    const refused = store.open({ loss: { onCorrupt: 'refuse' } });
    await expect(refused).rejects.toMatchObject({
      code: 'STATE_CORRUPT',
      message: expect.stringContaining(store.path),
    });
    expect(withoutLock(store)).toEqual(before);
    // Nor does it keep the lock.
    await store.open();
  });

  it('state.json missing, under the policy refuse', async () => {
    rmSync(store.path);
    const before = withoutLock(store);
    const refused = store.open({ loss: { onCorrupt: 'refuse' } });
    await expect(refused).rejects.toMatchObject({ code: 'STATE_CORRUPT' });
    expect(withoutLock(store)).toEqual(before);
  });

  it('a newer schema in state.json, or in the .bak to be restored', async () => {
    const document = {
      id: 'x',
      revision: 1,
      journalsSince: null,
      savedAt: 1,
      lost: null,
      scopes: new Map(),
    };
    const schema = { major: SCHEMA.major + 1, minor: 0 };
    const newer = encodeDocument({ ...document, others: { schema } });
    for (const path of [store.path, `${store.path}.bak`]) {
      writeFileSync(store.path, '');
      writeFileSync(path, newer);
      const before = withoutLock(store);
      await expect(store.open()).rejects.toMatchObject({ code: 'STATE_NEWER' });
      expect(withoutLock(store)).toEqual(before);
    }
  });
});

describe('the clock', () => {
  it('goes on from the newest instant on record when the machine is a little behind', async () => {
    time.stepWall(-600_000);
    const repository = await store.open();
    expect((await repository.read('a')).now).toBe(time.wall() + 600_000);
    expect(await lossOf(repository)).toBeNull();
  });

  it('goes on from the journal, where that is newer', async () => {
    const repository = await store.open();
    time.advance(900);
    await repository.update('a', increment);
    const crashed = store.copy();
    time.stepWall(-900);
    expect((await (await crashed.open()).read('a')).now).toBe(time.wall() + 900);
    await crashed.dispose();
  });

  it('far behind the record is believed, and every scope told so for good', async () => {
    const recordedAt = time.wall();
    time.stepWall(-7_200_000);
    const repository = await store.open();
    const lost = { reason: 'clock', at: time.wall(), recordedAt };
    expect(await lossOf(repository)).toEqual(lost);
    expect(await lossOf(repository, 'new')).toBeNull();
    // Not forgotten in a crash, nor covered by another loss before anybody has acted on it.
    const crashed = store.copy();
    writeFileSync(crashed.path, '');
    rmSync(`${crashed.path}.bak`);
    writeFileSync(`${crashed.path}.bak`, readFileSync(store.path));
    expect(await lossOf(await crashed.open())).toEqual(lost);
    await crashed.dispose();
  });
});

describe('a look at a store in use', () => {
  /** Fewer than a look's attempts: the save after the last one may still be under way in the next attempt. */
  const INTERRUPTIONS = 6;

  /** Makes commits beside the first files that the inspector reads, and saves after every second. */
  async function lookBeside(readsOf: RegExp): Promise<FoundState | null> {
    const repository = await store.open();
    const calls: string[] = [];
    const files = watchedFiles({
      before: async ({ path }) => {
        if (!readsOf.test(path) || calls.length === INTERRUPTIONS) return;
        calls.push(path);
        await repository.update('a', increment);
        await repository.update('a', increment);
        time.advance(1_000);
        await repository.update('a', increment);
      },
    });
    const found = await inspectFiles(store.path, files);
    expect(calls).not.toEqual([]);
    return found;
  }

  it.each([
    ['anything', /./],
    ['the first journal', /journal$/],
    ['the second journal', /journal2$/],
  ])('finds nothing missing, whatever turns while it reads %s', async (_, readsOf) => {
    const found = await lookBeside(readsOf);
    expect(found?.loss).toBeNull();
    expect(found?.stored.scopes.get('a')?.hot.sequence).toBeGreaterThan(3 * (INTERRUPTIONS - 1));
  });
});

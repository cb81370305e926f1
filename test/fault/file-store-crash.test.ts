import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { FileSystem } from '../../src/platform/durable-file.js';
import { inspectFiles } from '../../src/state/file/inspect.js';
import { FileStore } from '../support/file-store.js';
import { ManualTime } from '../support/manual-time.js';
import { type Carelessness, PowerCutDisk } from '../support/power-cut-disk.js';
import { increment } from '../support/scope-states.js';
import { until } from '../support/until.js';
import { type FileCall, systemError } from '../support/watched-files.js';

/** Both ways to die: the process alone, and the machine with all that was not flushed. */
type Death = 'kill' | 'power cut';

/** The files at one instant of a run, and how many updates had been answered by then. */
interface Instant {
  readonly answered: number;
  readonly during: string;
  readonly crashed: FileStore;
}

interface Run {
  readonly store: FileStore;
  readonly files: FileSystem;
  /** To be called for each update that was answered. */
  readonly answer: () => void;
  /** From here on every call on the file system is one to die before. */
  readonly begin: () => void;
  /** What is done before each call from here on, or thrown in its place. */
  readonly before: (act: (call: FileCall) => Promise<void> | void) => void;
}

type Careless = (call: FileCall) => Carelessness | void;

/**
 * Dies before every single call that a run makes on the file system; may be careless with some.
 */
async function dieAtEveryInstant(
  death: Death,
  store: FileStore,
  run: (run: Run) => Promise<void>,
  careless: Careless = () => {},
): Promise<Instant[]> {
  const instants: Instant[] = [];
  let answered = 0;
  let begun = false;
  let act: (call: FileCall) => Promise<void> | void = () => {};
  const disk = new PowerCutDisk(store, async (call) => {
    if (!begun) return undefined;
    await act(call);
    const crashed = death === 'kill' ? store.copy() : disk.cut();
    instants.push({ answered, during: `${call.operation} ${call.path}`, crashed });
    return careless(call);
  });
  try {
    await run({
      store,
      files: disk.files,
      answer: () => (answered += 1),
      begin: () => (begun = true),
      before: (next) => (act = next),
    });
  } finally {
    await store.dispose();
  }
  return instants;
}

/** Goes through the journals' turns and rewrites, with several callers at a time. */
async function work({ store, files, answer, begin, before }: Run): Promise<void> {
  const repository = await store.open({ files });
  let saves = 0;
  begin();
  before(({ operation, path }) => {
    if (operation === 'handle.close' && path === store.directory) saves += 1;
  });
  for (let save = 1; save <= 3; save += 1) {
    for (let round = 0; round < 4; round += 1) {
      const update = () => repository.update('a', increment).then(answer);
      await Promise.all(Array.from({ length: 1 + (round % 3) }, update));
      store.time?.advance(300);
    }
    await until(() => {
      if (saves >= save) return true;
      store.time?.advance(300);
      return false;
    });
  }
  await repository.close();
}

/** A step of writing state.json: what it does to any file but the journals and the lock. */
function isStepOfSaving({ operation, path }: FileCall): boolean {
  return !/journal|lock|owner/.test(path) && !['stat', 'readFile'].includes(operation);
}

function savedRevision({ path }: FileStore): number {
  return (JSON.parse(readFileSync(path, 'utf8')) as { revision: number }).revision;
}

/** The steps that writes of state.json fail at, one after the other. */
const FAILING = [null, /^handle\.sync .*tmp$/, /^rename /, null, /^handle\.sync .*data$/, null];

/** A commit before every single step of every write of state.json, but for the last. */
async function workBetweenSteps({ store, files, answer, begin, before }: Run): Promise<void> {
  const repository = await store.open({ files });
  const update = () => repository.update('a', increment).then(answer);
  let failing: RegExp | null = null;
  let failed = 0;
  begin();
  before(async (call) => {
    if (!isStepOfSaving(call)) return;
    await update();
    if (!failing?.test(`${call.operation} ${call.path}`)) return;
    failed += 1;
    throw systemError('EIO');
  });
  for (failing of FAILING) {
    const [revision, failures] = [savedRevision(store), failed];
    await update();
    await until(() => {
      // Does nothing while a write is under way.
      store.time?.advance(1_000);
      return failing === null ? savedRevision(store) > revision : failed > failures;
    });
    await until(() => (repository.health().problem === null) === (failing === null));
  }
  before(() => {});
  await repository.close();
}

/** Looks at what a death left, as `state check` would. */
async function expectWhole({ answered, during, crashed }: Instant): Promise<void> {
  const found = await inspectFiles(crashed.path);
  expect(found?.loss, during).toBeNull();
  expect(found?.stored.scopes.get('a')?.hot.sequence ?? 0, during).toBeGreaterThanOrEqual(answered);
}

/** Every answered update is there, nothing counts as lost, and it goes on from there. */
async function expectNoLoss({ answered, during, crashed }: Instant): Promise<void> {
  const repository = await crashed.open();
  const { state } = await repository.read('a');
  expect(state.hot.sequence, during).toBeGreaterThanOrEqual(answered);
  expect(state.hot.lost, during).toBeNull();
  expect(await repository.update('a', increment)).toBe(state.hot.sequence);
}

async function inspect(
  instants: readonly Instant[],
  check: (instant: Instant) => Promise<void>,
): Promise<void> {
  try {
    for (const instant of instants) await check(instant);
  } finally {
    for (const { crashed } of instants) await crashed.dispose();
  }
}

/** What a process leaves that was killed with two commits in the journal. */
async function killed(): Promise<FileStore> {
  const store = new FileStore(new ManualTime());
  const repository = await store.open();
  await repository.update('a', increment);
  await repository.update('a', increment);
  const left = store.copy();
  await store.dispose();
  return left;
}

describe.each<Death>(['kill', 'power cut'])('a %s at any instant', (death) => {
  it('loses no answered update, and is not taken for damage', async () => {
    const instants = await dieAtEveryInstant(death, new FileStore(new ManualTime()), work);
    const seen = new Set(instants.map(({ during }) => during.replace(/ .*\//, ' ')));
    for (const step of [
      'handle.write state.json.journal',
      'handle.write state.json.journal2',
      'handle.sync state.json.tmp',
      'link state.json',
      'rename state.json.tmp',
      'handle.sync data',
    ]) {
      expect(seen).toContain(step);
    }
    await inspect(instants, expectNoLoss);
  });

  it('loses no commit between any two steps of a rewrite, whether that succeeds or not', async () => {
    const store = new FileStore(new ManualTime());
    const instants = await dieAtEveryInstant(death, store, workBetweenSteps);
    expect(instants.length).toBeGreaterThan(70);
    await inspect(instants, expectWhole);
  });

  it('loses nothing while a killed one is taken over', async () => {
    const takeOver = async ({ store, files, answer, begin }: Run) => {
      answer();
      answer();
      begin();
      await (await store.open({ files })).close();
    };
    await inspect(await dieAtEveryInstant(death, await killed(), takeOver), expectNoLoss);
  });

  it('loses nothing while all files are written anew after a failure', async () => {
    const heal = async ({ store, files, answer, begin, before }: Run) => {
      const repository = await store.open({ files });
      await repository.update('a', increment).then(answer);
      let failing = true;
      begin();
      before(({ operation }) => {
        if (!failing || operation !== 'handle.write') return;
        failing = false;
        throw systemError('EIO');
      });
      await expect(repository.update('a', increment)).rejects.toThrow('EIO');
      store.time?.advance(1_000);
      await until(() => repository.health().healthy);
      await repository.update('a', increment).then(answer);
      await repository.close();
    };
    const store = new FileStore(new ManualTime());
    await inspect(await dieAtEveryInstant(death, store, heal), expectNoLoss);
  });

  it('loses nothing from a start to a clean stop, and is not taken for lost journals', async () => {
    const store = new FileStore(new ManualTime());
    await (await store.open()).close();
    const live = async ({ store, files, answer, begin }: Run) => {
      begin();
      const repository = await store.open({ files });
      await repository.update('a', increment).then(answer);
      await repository.close();
    };
    const instants = await dieAtEveryInstant(death, store, live);
    const seen = new Set(instants.map(({ during }) => during.replace(/ .*\//, ' ')));
    for (const step of ['rm', 'open', 'handle.write']) {
      expect(seen).toContain(`${step} state.json.journal`);
      expect(seen).toContain(`${step} state.json.journal2`);
    }
    await inspect(instants, async (instant) => {
      await expectWhole(instant);
      await expectNoLoss(instant);
    });
  });

  const damages: Record<string, (path: string) => void> = {
    'state.json': (path) => writeFileSync(path, '{'),
    'the journal': (path) => {
      const journal = readFileSync(`${path}.journal`);
      writeFileSync(`${path}.journal`, journal.fill('x', 100, 110));
    },
  };
  it.each(Object.keys(damages))('does not forget a loss while it is restored: %s', async (file) => {
    const store = await killed();
    damages[file]!(store.path);
    const restore = async ({ files, begin }: Run) => {
      begin();
      await (await store.open({ files })).close();
    };
    const instants = await dieAtEveryInstant(death, store, restore);
    expect(instants.length).toBeGreaterThan(10);
    await inspect(instants, async ({ during, crashed }) => {
      const repository = await crashed.open();
      expect((await repository.read('a')).state.hot.lost, during).not.toBeNull();
      expect((await repository.read('new')).state.hot.lost, during).not.toBeNull();
    });
  });
});

describe('the same with one care left out', () => {
  const cares: Record<string, readonly [Death, Careless]> = {
    'the flush of the journal': [
      'power cut',
      ({ operation }) => (operation === 'handle.write' ? 'unflushed' : undefined),
    ],
    'the flush of the new state.json': [
      'power cut',
      ({ operation, path }) =>
        operation === 'handle.sync' && path.endsWith('.tmp') ? 'skip' : undefined,
    ],
    'the flush of the directory': [
      'power cut',
      ({ operation, path }) =>
        operation === 'handle.sync' && !path.endsWith('.tmp') ? 'skip' : undefined,
    ],
    // The journals then take turns on the word of a state.json that is not there.
    'the rename': ['kill', ({ operation }) => (operation === 'rename' ? 'skip' : undefined)],
  };
  it.each(Object.keys(cares))('loses an answered update, or calls it lost: %s', async (care) => {
    const [death, careless] = cares[care]!;
    const instants = await dieAtEveryInstant(
      death,
      new FileStore(new ManualTime()),
      work,
      careless,
    );
    await expect(inspect(instants, expectNoLoss)).rejects.toThrow(/expected/);
  });
});

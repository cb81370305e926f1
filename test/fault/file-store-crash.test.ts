import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { FileSystem } from '../../src/platform/durable-file.js';
import { FileStore } from '../support/file-store.js';
import { ManualTime } from '../support/manual-time.js';
import { PowerCutDisk } from '../support/power-cut-disk.js';
import { increment } from '../support/scope-states.js';
import type { FileCall } from '../support/watched-files.js';

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
}

/**
 * Dies before every single call that a run makes on the file system; leaves out `careless` ones.
 */
async function dieAtEveryInstant(
  death: Death,
  store: FileStore,
  run: (run: Run) => Promise<void>,
  careless: (call: FileCall) => boolean = () => false,
): Promise<Instant[]> {
  const instants: Instant[] = [];
  let answered = 0;
  let begun = false;
  const disk = new PowerCutDisk(store, (call) => {
    if (!begun) return undefined;
    const crashed = death === 'kill' ? store.copy() : disk.cut();
    instants.push({ answered, during: `${call.operation} ${call.path}`, crashed });
    return careless(call) ? 'skip' : undefined;
  });
  try {
    await run({
      store,
      files: disk.files,
      answer: () => (answered += 1),
      begin: () => (begun = true),
    });
  } finally {
    await store.dispose();
  }
  return instants;
}

/** Goes through journal and rewrites, with several callers at a time. */
async function work({ store, files, answer, begin }: Run): Promise<void> {
  const repository = await store.open({ files });
  begin();
  for (let round = 0; round < 12; round += 1) {
    const update = () => repository.update('a', increment).then(answer);
    await Promise.all(Array.from({ length: 1 + (round % 3) }, update));
    store.time?.advance(300);
  }
  await repository.close();
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
      'handle.datasync state.json.journal',
      'handle.sync state.json.tmp',
      'link state.json',
      'rename state.json.tmp',
      'handle.sync data',
    ]) {
      expect(seen).toContain(step);
    }
    await inspect(instants, expectNoLoss);
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

describe('the same power cut, with one flush left out', () => {
  const flushes: Record<string, (call: FileCall) => boolean> = {
    'of the journal': ({ operation }) => operation === 'handle.datasync',
    'of the new state.json': ({ operation, path }) =>
      operation === 'handle.sync' && path.endsWith('.tmp'),
    'of the directory': ({ operation, path }) =>
      operation === 'handle.sync' && !path.endsWith('.tmp'),
  };
  it.each(Object.keys(flushes))('loses an answered update, or calls it lost: %s', async (flush) => {
    const store = new FileStore(new ManualTime());
    const instants = await dieAtEveryInstant('power cut', store, work, flushes[flush]);
    await expect(inspect(instants, expectNoLoss)).rejects.toThrow(/expected/);
  });
});

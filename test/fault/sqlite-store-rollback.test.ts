/** An older state.db that is put in the place of the newer one, while what stands beside it stays. */
import { copyFileSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { LossReason } from '../../src/state/scope-state.js';
import { inspectDatabase } from '../../src/state/sqlite/inspect.js';
import type { Decide, StateRepository } from '../../src/state/state-repository.js';
import { lossOf, setAsideNames, withoutLock } from '../support/look-at-store.js';
import { ManualTime } from '../support/manual-time.js';
import { increment, sequenceOf, setSequence } from '../support/scope-states.js';
import { SqliteStore } from '../support/sqlite-store.js';
import { until } from '../support/until.js';
import { watchedFiles } from '../support/watched-files.js';

const BACKUP_EVERY_MS = 60_000;

let time: ManualTime;
let store: SqliteStore;
beforeEach(() => {
  time = new ManualTime();
  store = new SqliteStore(time);
});
afterEach(() => store.dispose());

/** A run that sets both scopes and stops cleanly. */
async function run(sequence: number): Promise<void> {
  const repository = await store.open();
  for (const scope of ['a', 'b']) await repository.update(scope, setSequence(sequence));
  await repository.close();
}

/** In `.bak`. */
function savedSequence(scope: string): number | null {
  if (!existsSync(`${store.path}.bak`)) return null;
  const database = new Database(`${store.path}.bak`, { readonly: true });
  const document = database
    .prepare<[string], string>('SELECT document FROM scope_hot WHERE scope = ?')
    .pluck()
    .get(scope);
  database.close();
  return document === undefined ? null : (JSON.parse(document) as { sequence: number }).sequence;
}

/** The log is emptied into the database, and the copy renewed. */
async function backUp(scope: string, sequence: number): Promise<void> {
  time.advance(BACKUP_EVERY_MS);
  await until(() => savedSequence(scope) === sequence);
}

function keepOld(): void {
  copyFileSync(store.path, `${store.path}.old`);
}

function putBack(left: SqliteStore): void {
  copyFileSync(`${store.path}.old`, left.path);
}

async function expectStart(
  left: SqliteStore,
  expected: { readonly loss: LossReason | null; readonly a: number; readonly b: number },
): Promise<void> {
  // What `state check` tells, before a start has mended it.
  expect((await inspectDatabase(left.path))?.loss).toBe(expected.loss);
  const repository = await left.open();
  const found = {
    loss: (await lossOf(repository))?.reason ?? null,
    a: await sequenceOf(repository, 'a'),
    b: await sequenceOf(repository, 'b'),
  };
  expect(found).toEqual(expected);
  expect((await lossOf(repository, 'never seen'))?.reason ?? null).toBe(expected.loss);
  expect(await repository.update('b', increment)).toBe(expected.b);
  await repository.close();
}

/**
 * Where an older database lies under a newer log, it depends on which pages are whose what of a scope is whose. What
 * is in the log alone is the newer, and of nothing is it believed that it is all.
 */
async function expectMistrust(left: SqliteStore, a: number): Promise<void> {
  expect((await inspectDatabase(left.path))?.loss).toBeTruthy();
  const repository = await left.open();
  expect(await sequenceOf(repository, 'a')).toBe(a);
  for (const scope of ['a', 'b', 'never seen']) {
    expect(await lossOf(repository, scope), scope).not.toBeNull();
  }
  await repository.update('b', increment);
  await repository.close();
}

describe('an older state.db', () => {
  it('of before the last run, beside the newer .bak: the newer of each scope, and caution', async () => {
    await run(10);
    keepOld();
    await run(500);
    putBack(store);
    await expectStart(store, { loss: 'rolled-back', a: 500, b: 500 });
    expect(setAsideNames(store)).toEqual([]);
    // Mended: what a later crash leaves is neither old nor without its markers.
    const repository = await store.open();
    const crashed = store.copy();
    expect((await inspectDatabase(crashed.path))?.loss).toBeNull();
    expect(await lossOf(await crashed.open(), 'never seen')).toMatchObject({
      reason: 'rolled-back',
    });
    await crashed.dispose();
    await repository.close();
  });

  it('is told by the .bak alone: without it nothing would', async () => {
    await run(10);
    keepOld();
    await run(500);
    putBack(store);
    rmSync(`${store.path}.bak`);
    await expectStart(store, { loss: null, a: 10, b: 10 });
  });

  it('under the log of the killed run is not trusted', async () => {
    const left = await killedWithLog();
    putBack(left);
    await expectMistrust(left, 601);
    await left.dispose();
  });

  it('… nor is it without a .bak: its clean stop is older than the log', async () => {
    const left = await killedWithLog();
    putBack(left);
    rmSync(`${left.path}.bak`);
    await expectMistrust(left, 601);
    await left.dispose();
  });

  /** Killed after `b` has reached the database and the copy, and `a` the log alone. */
  async function killedWithLog(): Promise<SqliteStore> {
    await run(10);
    keepOld();
    // Every start moves the rows to other pages; after a second one they are where they were.
    await run(500);
    const repository = await store.open();
    await repository.update('b', setSequence(600));
    await backUp('b', 600);
    await repository.update('a', setSequence(601));
    return leave(repository);
  }

  async function leave(repository: StateRepository): Promise<SqliteStore> {
    const left = store.copy();
    await repository.close();
    return left;
  }

  it('of the same run is not trusted under its log, though the highest revision is right', async () => {
    const repository = await store.open();
    await repository.update('a', setSequence(1));
    await repository.update('b', setSequence(1));
    await backUp('b', 1);
    keepOld();
    await repository.update('b', setSequence(2));
    await backUp('b', 2);
    await repository.update('a', setSequence(3));
    const left = await leave(repository);
    putBack(left);
    // The control: to SQLite it is one database, and nothing is wrong with it.
    const witness = left.copy();
    const mixed = new Database(witness.path);
    expect(mixed.pragma('integrity_check', { simple: true })).toBe('ok');
    const rows = mixed.prepare('SELECT revision FROM scope_hot ORDER BY scope').pluck().all();
    expect(rows[0]).toBeGreaterThan(rows[1] as number);
    mixed.close();
    await witness.dispose();
    await expectMistrust(left, 3);
    await left.dispose();
  });

  it('of which the log has all but what was learned', async () => {
    const learn: Decide<null> = ({ hot, cold }) => ({
      state: { hot, cold: { ...cold, organizations: { key: 'org' } } },
      outcome: null,
    });
    const repository = await store.open();
    await repository.update('b', setSequence(1));
    await backUp('b', 1);
    keepOld();
    await repository.update('b', learn);
    await repository.update('b', setSequence(2));
    await backUp('b', 2);
    await repository.update('b', setSequence(3));
    const left = await leave(repository);
    putBack(left);
    await expectStart(left, { loss: 'rolled-back', a: 0, b: 3 });
    const { state } = await (await left.open()).read('b');
    expect(state.cold.organizations).toEqual({ key: 'org' });
    await left.dispose();
  });

  it('without a scope is told by the row of the store', async () => {
    await (await store.open()).close();
    keepOld();
    await (await store.open()).close();
    putBack(store);
    await expectStart(store, { loss: 'rolled-back', a: 0, b: 0 });
  });

  it('whose log is missing, too, gets what the .bak has', async () => {
    const repository = await store.open();
    await repository.update('a', setSequence(1));
    await repository.update('b', setSequence(1));
    await backUp('b', 1);
    keepOld();
    await repository.update('b', setSequence(2));
    await repository.close();
    putBack(store);
    await expectStart(store, { loss: 'rolled-back', a: 1, b: 2 });
  });

  it('is refused, and left as it was, under the policy refuse', async () => {
    await run(10);
    keepOld();
    await run(500);
    putBack(store);
    const before = withoutLock(store);
    await expect(store.open({ loss: { onCorrupt: 'refuse' } })).rejects.toMatchObject({
      code: 'STATE_CORRUPT',
      message: `${store.path} can't be used: it is older than ${store.path}.bak`,
    });
    expect(withoutLock(store)).toEqual(before);
  });

  it('that a newer version has gone on from is left to that version', async () => {
    await run(10);
    const database = new Database(`${store.path}.bak`);
    database.exec('PRAGMA user_version = 2');
    database.close();
    await expect(store.open()).rejects.toMatchObject({
      code: 'STATE_NEWER',
      message: expect.stringContaining(`${store.path}.bak`),
    });
  });
});

describe('a .bak that says nothing against the database', () => {
  it('is the one of a crash, at whatever moment: what was backed up was durable before', async () => {
    const repository = await store.open();
    const moments: { readonly left: SqliteStore; readonly a: number; readonly b: number }[] = [];
    // `b` rests while `a` goes on: a copy made later is no newer for that.
    await repository.update('b', setSequence(0));
    for (let a = 0; a < 4; a += 1) {
      await repository.update('a', setSequence(a));
      moments.push({ left: store.copy(), a, b: 0 });
      await backUp('a', a);
      moments.push({ left: store.copy(), a, b: 0 });
    }
    await repository.close();
    moments.push({ left: store.copy(), a: 3, b: 0 });
    for (const { left, a, b } of moments) {
      await expectStart(left, { loss: null, a, b });
      await left.dispose();
    }
  });

  it('is one renewed while somebody looks', async () => {
    const repository = await store.open();
    await repository.update('b', setSequence(1));
    await backUp('b', 1);
    const read = new Set<string>();
    const files = watchedFiles({
      before: async ({ operation, path }) => {
        if (operation !== 'readFile' || ![store.path, `${store.path}.bak`].includes(path)) return;
        read.add(path);
        if (read.size < 2 || savedSequence('b') === 2) return;
        // One of the two is read, and the other is not.
        await repository.update('b', setSequence(2));
        await backUp('b', 2);
      },
    });
    expect((await inspectDatabase(store.path, files))?.loss).toBeNull();
    expect(savedSequence('b')).toBe(2);
  });

  const others: Record<string, () => void> = {
    'is missing': () => {},
    'is damaged': () => writeFileSync(`${store.path}.bak`, 'x'.repeat(4096)),
    'can’t be read': () => mkdirSync(`${store.path}.bak`),
    'was altered': () => {
      copyFileSync(store.path, `${store.path}.bak`);
      const database = new Database(`${store.path}.bak`);
      database.exec('UPDATE scope_hot SET revision = revision + 1000');
      database.close();
    },
  };
  it.each(Object.keys(others))('%s', async (name) => {
    await run(10);
    rmSync(`${store.path}.bak`);
    others[name]!();
    await expectStart(store, { loss: null, a: 10, b: 10 });
  });

  it('is of another store', async () => {
    const other = new SqliteStore(time);
    const repository = await other.open();
    for (let n = 0; n < 20; n += 1) await repository.update('b', increment);
    await repository.close();
    await run(10);
    copyFileSync(`${other.path}.bak`, `${store.path}.bak`);
    await expectStart(store, { loss: null, a: 10, b: 10 });
    await other.dispose();
  });
});

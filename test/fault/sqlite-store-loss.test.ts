import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { lossOf, setAsideNames, withoutLock } from '../support/look-at-store.js';
import type { SetAside } from '../../src/state/set-aside.js';
import { ManualTime } from '../support/manual-time.js';
import { increment, sequenceOf, setSequence } from '../support/scope-states.js';
import { SqliteStore } from '../support/sqlite-store.js';

let time: ManualTime;
let store: SqliteStore;
/** A store whose state.db says 20, and its .bak 10. */
beforeEach(async () => {
  time = new ManualTime();
  store = new SqliteStore(time);
  const repository = await store.open();
  await repository.update('a', setSequence(10));
  await repository.close();
  const backup = readFileSync(`${store.path}.bak`);
  const second = await store.open();
  await second.update('a', setSequence(20));
  await second.close();
  writeFileSync(`${store.path}.bak`, backup);
});
afterEach(() => store.dispose());

/** Runs SQL on the database, as a person would with another program. */
function sql(statement: string, path = store.path): void {
  const database = new Database(path);
  database.exec(statement);
  database.close();
}

/** What a process leaves that was killed with these commits in its log. */
async function killedAfter(...sequences: number[]): Promise<SqliteStore> {
  const repository = await store.open();
  for (const sequence of sequences) await repository.update('a', setSequence(sequence));
  const left = store.copy();
  await repository.close();
  return left;
}

const FRAME_BYTES = 536;

/** How much of a log was written since it was last started over; older frames stand behind that. */
function lengthOfLog(path: string): number {
  const bytes = readFileSync(path);
  let end = 32;
  while (end < bytes.length && bytes.compare(bytes, 16, 24, end + 8, end + 16) === 0) {
    end += FRAME_BYTES;
  }
  return end;
}

function flip(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes[at] = bytes[at]! ^ 0xff;
  writeFileSync(path, bytes);
}

const damage: Record<string, () => void> = {
  empty: () => truncateSync(store.path, 0),
  'cut short': () => truncateSync(store.path, Math.floor(statSync(store.path).size / 2)),
  'filled with zeros': () => writeFileSync(store.path, Buffer.alloc(4096)),
  'its header is damaged': () => flip(store.path, 3),
  'something else': () => writeFileSync(store.path, '{"name": "package"}\n'),
  'a database of another program': () => {
    rmSync(store.path);
    sql('CREATE TABLE t (x)');
  },
  'a directory': () => {
    rmSync(store.path);
    mkdirSync(store.path);
  },
};

describe('a damaged state.db', () => {
  it.each(Object.keys(damage))('(%s) is set aside, and .bak restored', async (kind) => {
    damage[kind]!();
    const damaged = statSync(store.path).isFile() && readFileSync(store.path);
    const told: SetAside[] = [];
    const repository = await store.open({ onSetAside: (file) => told.push(file) });
    expect(await sequenceOf(repository, 'a')).toBe(10);
    const lost = { reason: 'restored', at: time.wall(), recordedAt: null };
    expect(await lossOf(repository)).toEqual(lost);
    expect(await lossOf(repository, 'never seen')).toEqual(lost);
    expect(repository.health()).toMatchObject({ healthy: true });
    expect(setAsideNames(store)).toEqual(['state.db.corrupt-2025-11-23T00-00-00-000Z']);
    const as = join(store.directory, setAsideNames(store)[0]!);
    expect(told).toEqual([{ path: store.path, as, why: expect.stringMatching(/\w \w/) }]);
    if (damaged)
      expect(readFileSync(join(store.directory, setAsideNames(store)[0]!))).toEqual(damaged);
    await repository.update('a', increment);
    await repository.close();
    expect(await sequenceOf(await store.open(), 'a')).toBe(11);
  });

  it('with a malformed page keeps what else is in it, and has the rest from the .bak', async () => {
    const learning = await store.open();
    await learning.update('a', ({ hot, cold }) => ({
      state: { hot, cold: { ...cold, organizations: { key: 'org' } } },
      outcome: null,
    }));
    await learning.close();
    const backup = readFileSync(`${store.path}.bak`);
    const last = await store.open();
    await last.update('a', setSequence(30));
    await last.close();
    writeFileSync(`${store.path}.bak`, backup);
    const database = new Database(store.path);
    const root = `SELECT rootpage FROM sqlite_schema WHERE name = 'scope_cold'`;
    const page = database.prepare(root).pluck().get() as number;
    database.close();
    const bytes = readFileSync(store.path);
    writeFileSync(store.path, bytes.fill(0xee, (page - 1) * 512, page * 512));
    const repository = await store.open();
    expect(await sequenceOf(repository, 'a')).toBe(30);
    const { state } = await repository.read('a');
    expect(state.cold.organizations).toEqual({ key: 'org' });
    expect(await lossOf(repository)).toMatchObject({ reason: 'restored' });
    expect(setAsideNames(store)).toHaveLength(1);
  });

  it('in which a digit is another, by a person or a bit, is taken but not trusted', async () => {
    sql(`UPDATE scope_hot SET document = replace(document, '"sequence":20', '"sequence":21')`);
    const repository = await store.open();
    expect(await sequenceOf(repository, 'a')).toBe(21);
    const lost = { reason: 'altered', at: time.wall(), recordedAt: null };
    expect(await lossOf(repository)).toEqual(lost);
    expect(await lossOf(repository, 'never seen')).toEqual(lost);
    expect(setAsideNames(store)).toEqual([]);
  });

  it.each([
    ['is not JSON', `UPDATE scope_hot SET document = '{'`],
    ['is out of bounds', `UPDATE scope_hot SET document = '{"sequence": -1}'`],
    ['has lost its cold part', `DELETE FROM scope_cold`],
    ['does not say which store it is', `DELETE FROM store`],
  ])('whose rows are no state (%s) is restored', async (_, statement) => {
    sql(statement);
    const repository = await store.open();
    expect(await sequenceOf(repository, 'a')).toBeGreaterThanOrEqual(10);
    expect(await lossOf(repository)).toMatchObject({ reason: 'restored' });
  });

  it('without a .bak leaves nothing but the knowledge that there was something', async () => {
    const { id } = (await store.open()).health();
    await store.dispose();
    mkdirSync(store.directory, { recursive: true });
    writeFileSync(store.path, 'x');
    const repository = await store.open();
    expect(await repository.list()).toEqual([]);
    expect(await lossOf(repository)).toMatchObject({ reason: 'corrupt' });
    expect(repository.health().id).not.toBe(id);
  });

  it('keeps its markers over restarts and crashes', async () => {
    damage['empty']!();
    await (await store.open()).close();
    const again = await store.open();
    expect(await lossOf(again)).toMatchObject({ reason: 'restored' });
    const crashed = store.copy();
    expect(await lossOf(await crashed.open(), 'new')).toMatchObject({ reason: 'restored' });
    await crashed.dispose();
  });
});

describe('the log', () => {
  it('of a killed process is applied', async () => {
    const left = await killedAfter(30, 31);
    expect(existsSync(`${left.path}-wal`)).toBe(true);
    const repository = await left.open();
    expect(await sequenceOf(repository, 'a')).toBe(31);
    expect(await lossOf(repository)).toBeNull();
    await left.dispose();
  });

  it('that is missing after a kill means that the database is older than what was', async () => {
    const left = await killedAfter(30);
    rmSync(`${left.path}-wal`);
    const repository = await left.open();
    expect(await sequenceOf(repository, 'a')).toBe(20);
    expect(await lossOf(repository)).toMatchObject({ reason: 'rolled-back' });
    await left.dispose();
  });

  it('with a bad frame in its midst is set aside, for SQLite would forget all behind it', async () => {
    const left = await killedAfter(30, 31, 32, 33);
    const path = `${left.path}-wal`;
    flip(path, Math.floor(lengthOfLog(path) * 0.6));
    // What SQLite itself makes of it, without a word:
    const witness = join(left.directory, 'witness');
    for (const end of ['', '-wal']) copyFileSync(`${left.path}${end}`, `${witness}${end}`);
    const database = new Database(witness);
    const silently = database.prepare('SELECT document FROM scope_hot').pluck().get() as string;
    expect(JSON.parse(silently)).not.toMatchObject({ sequence: 33 });
    database.close();
    const repository = await left.open();
    expect(await lossOf(repository)).toMatchObject({ reason: 'restored' });
    expect(setAsideNames(left)).toHaveLength(2);
    expect(await repository.update('a', increment)).toBeGreaterThanOrEqual(20);
    await left.dispose();
  });

  it('torn at its end is what a crash leaves, wherever it is torn', async () => {
    const left = await killedAfter(30, 31);
    const size = lengthOfLog(`${left.path}-wal`);
    for (let cut = 1; cut < FRAME_BYTES; cut += 89) {
      const torn = left.copy();
      truncateSync(`${torn.path}-wal`, size - cut);
      const repository = await torn.open();
      expect(await lossOf(repository), `cut by ${cut}`).toBeNull();
      expect(await sequenceOf(repository, 'a')).toBe(30);
      await torn.dispose();
    }
    await left.dispose();
  });

  it('alone, without the database, is a loss', async () => {
    const left = await killedAfter(30);
    for (const name of left.names()) if (!name.endsWith('-wal')) rmSync(join(left.directory, name));
    const repository = await left.open();
    expect(await lossOf(repository)).toMatchObject({ reason: 'missing' });
    expect(setAsideNames(left)).toHaveLength(1);
    await left.dispose();
  });
});

describe('a missing state.db', () => {
  function keep(...kept: string[]): void {
    for (const name of store.names()) {
      if (!kept.includes(name)) rmSync(join(store.directory, name));
    }
  }

  it('beside a .bak is restored from it', async () => {
    keep('state.db.bak');
    const repository = await store.open();
    expect(await lossOf(repository)).toMatchObject({ reason: 'restored' });
    expect(await sequenceOf(repository, 'a')).toBe(10);
  });

  it('whose .bak a person put in its place is taken, and not trusted', async () => {
    copyFileSync(`${store.path}.bak`, store.path);
    const repository = await store.open();
    expect(await sequenceOf(repository, 'a')).toBe(10);
    expect(await lossOf(repository)).toMatchObject({ reason: 'rolled-back' });
  });

  it.each(['state.db.lock', 'state.db.owner', 'state.db.corrupt-2025-11-22T00-00-00-000Z'])(
    'beside %s is a loss',
    async (name) => {
      keep();
      writeFileSync(join(store.directory, name), '');
      const repository = await store.open();
      expect(await lossOf(repository)).toMatchObject({ reason: 'missing' });
      expect(await repository.list()).toEqual([]);
    },
  );

  it('in an empty directory is a first start, which the operator may mistrust', async () => {
    keep();
    const trusting = await store.open();
    expect(await lossOf(trusting)).toBeNull();
    await trusting.close();
    keep();
    const cautious = await store.open({ loss: { onEmpty: 'cautious' } });
    expect(await lossOf(cautious)).toMatchObject({ reason: 'empty' });
    await cautious.close();
    expect(await lossOf(await store.open(), 'b')).toMatchObject({ reason: 'empty' });
  });
});

describe('a start that is refused leaves everything as it was', () => {
  const files = Object.keys(damage).filter((kind) => kind !== 'a directory');
  it.each(files)('state.db %s, under the policy refuse', async (kind) => {
    damage[kind]!();
    const before = withoutLock(store);
    await expect(store.open({ loss: { onCorrupt: 'refuse' } })).rejects.toMatchObject({
      code: 'STATE_CORRUPT',
      message: expect.stringContaining(store.path),
    });
    expect(withoutLock(store)).toEqual(before);
    // Nor does it keep the lock.
    await store.open();
  });

  it('a log missing after a kill, under the policy refuse', async () => {
    const left = await killedAfter(30);
    rmSync(`${left.path}-wal`);
    const before = withoutLock(left);
    await expect(left.open({ loss: { onCorrupt: 'refuse' } })).rejects.toMatchObject({
      code: 'STATE_CORRUPT',
    });
    expect(withoutLock(left)).toEqual(before);
    await left.dispose();
  });

  it.each([
    ['database', 'PRAGMA user_version = 2'],
    ['document', `UPDATE store SET document = replace(document, '"major":1', '"major":2')`],
  ])('a newer schema of the %s', async (_, statement) => {
    sql(statement);
    const before = withoutLock(store);
    await expect(store.open()).rejects.toMatchObject({ code: 'STATE_NEWER' });
    expect(withoutLock(store)).toEqual(before);
  });
});

describe('the clock', () => {
  it('goes on from the newest instant on record when the machine is a little behind', async () => {
    time.stepWall(-600_000);
    const repository = await store.open();
    expect((await repository.read('a')).now).toBe(time.wall() + 600_000);
    expect(await lossOf(repository)).toBeNull();
  });

  it('far behind the record is believed, and every scope told so', async () => {
    const recordedAt = time.wall();
    time.stepWall(-7_200_000);
    const repository = await store.open();
    expect(await lossOf(repository)).toEqual({ reason: 'clock', at: time.wall(), recordedAt });
    expect(await lossOf(repository, 'new')).toBeNull();
  });
});

import { describe, expect, it } from 'vitest';
import { type FileSystem, SYSTEM_FILES } from '../../src/platform/durable-file.js';
import { hasCode } from '../../src/platform/tidegate-error.js';
import {
  decodeDocument,
  encodeDocument,
  type StoreDocument,
} from '../../src/state/file/document.js';
import { encodeRecord } from '../../src/state/file/journal.js';
import { type Found, recover, storePaths } from '../../src/state/file/recovery.js';
import { emptyScopeState, SCHEMA } from '../../src/state/scope-state.js';
import { fullScopeState, withSequence } from '../support/scope-states.js';
import { systemError } from '../support/watched-files.js';

const PATHS = storePaths('/data/state.json');
const AT = 1_763_856_000_000;
const POLICY = { onCorrupt: 'cautious', onEmpty: 'trust' } as const;

/** A store whose only scope has the sequence 100, written at revision 100. */
const BASE: StoreDocument = {
  id: 'ab12',
  revision: 100,
  journalsSince: null,
  savedAt: AT,
  lost: null,
  scopes: new Map([['a', withSequence(fullScopeState(), 100)]]),
  others: {},
};
const STATE = Buffer.from(encodeDocument(BASE));

/** The commit of a revision sets the sequence to the same number. */
function record(revision: number, id = BASE.id, major: number = SCHEMA.major): Buffer {
  const { hot } = withSequence(emptyScopeState(), revision);
  return encodeRecord({ revision, major, id, at: AT, scopes: new Map([['a', { hot }]]) });
}

function journal(first: number, last: number): Buffer {
  return Buffer.concat(
    Array.from({ length: last - first + 1 }, (_, index) => record(first + index)),
  );
}

async function recovered(contents: Readonly<Record<string, Buffer>>): Promise<Found> {
  const readFile = async (path: string) => {
    const content = contents[path];
    if (content === undefined) throw systemError('ENOENT');
    return content;
  };
  const readdir = async () => Object.keys(contents).map((path) => path.replace('/data/', ''));
  const files = { ...SYSTEM_FILES, readFile, readdir } as unknown as FileSystem;
  return recover(files, PATHS, POLICY, false);
}

/** Sequence and loss with these journals beside a state.json at revision 100. */
async function replayed(
  first: Buffer,
  second?: Buffer,
): Promise<[number | undefined, Found['loss']]> {
  const { stored, loss } = await recovered({
    [PATHS.state]: STATE,
    [PATHS.journals[0]]: first,
    ...(second && { [PATHS.journals[1]]: second }),
  });
  return [stored.scopes.get('a')?.hot.sequence, loss];
}

function flipped(bytes: Buffer, index: number, bit: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[index] = copy[index]! ^ (1 << bit);
  return copy;
}

describe('state.json', () => {
  /** Not taken for what Tidegate wrote: refused, or marked as altered. */
  function isMistrusted(bytes: Buffer): boolean {
    try {
      return decodeDocument(bytes).altered;
    } catch (error) {
      return hasCode(error, 'STATE_CORRUPT') || hasCode(error, 'STATE_NEWER');
    }
  }

  it('is what was written', () => {
    expect(decodeDocument(STATE)).toEqual({ ...BASE, altered: false });
  });

  it('is not trusted with any one bit flipped', () => {
    for (let index = 0; index < STATE.length; index += 1) {
      expect(isMistrusted(flipped(STATE, index, index % 8)), `byte ${index}`).toBe(true);
    }
  });

  it('is not trusted when it ends early, wherever, or goes on too long', () => {
    for (let length = 0; length < STATE.length; length += 1) {
      expect(isMistrusted(STATE.subarray(0, length)), `${length} bytes`).toBe(true);
    }
    expect(isMistrusted(Buffer.concat([STATE, Buffer.from('\n')]))).toBe(true);
  });

  it('keeps fields that this version does not know', () => {
    const others = { later: { x: [1] }, __proto__x: 2 };
    expect(decodeDocument(Buffer.from(encodeDocument({ ...BASE, others }))).others).toEqual(others);
  });
});

describe('the journal', () => {
  it('adds its commits to state.json', async () => {
    expect(await replayed(Buffer.alloc(0))).toEqual([100, null]);
    expect(await replayed(journal(101, 103))).toEqual([103, null]);
    const { stored } = await recovered({
      [PATHS.state]: STATE,
      [PATHS.journals[0]]: journal(101, 103),
    });
    expect(stored.revision).toBe(103);
    // Records without a cold part leave it as it was.
    expect(stored.scopes.get('a')?.cold).toEqual(fullScopeState().cold);
  });

  it('may end anywhere in a line, as a crash leaves it', async () => {
    const whole = journal(101, 103);
    const line = record(101).length;
    for (let length = 0; length <= whole.length; length += 1) {
      const complete = 100 + Math.floor(length / line);
      expect(await replayed(whole.subarray(0, length)), `${length} bytes`).toEqual([
        complete,
        null,
      ]);
    }
  });

  it('may be overwritten up to anywhere, with older records behind', async () => {
    // Of other lengths, so that the new lines end within the old ones.
    const old = Buffer.concat([96, 97, 98, 99, 100].map((revision) => longRecord(revision)));
    const fresh = journal(101, 103);
    const line = record(101).length;
    for (let length = 0; length <= fresh.length; length += 1) {
      const mixed = Buffer.concat([fresh.subarray(0, length), old.subarray(length)]);
      const complete = 100 + Math.floor(length / line);
      expect(await replayed(mixed), `${length} bytes`).toEqual([complete, null]);
    }
  });

  it('tells damage in the middle from a torn end, and applies all that is whole', async () => {
    const whole = journal(101, 104);
    const line = record(101).length;
    for (let index = 0; index < whole.length; index += 1) {
      const [sequence, loss] = await replayed(flipped(whole, index, index % 8));
      const last = index >= 3 * line;
      // Nothing tells a damaged last line from one that was never finished.
      expect([sequence, loss], `byte ${index}`).toEqual(last ? [103, null] : [104, 'restored']);
    }
  });

  it('tells two damaged records at its end from one that was never finished', async () => {
    const line = record(101).length;
    for (const damaged of [2, 3]) {
      const whole = journal(101, 104);
      for (let n = 4 - damaged; n < 4; n += 1) whole[n * line + 30] = 0;
      const expected = [104 - damaged, 'restored'];
      expect(await replayed(whole)).toEqual(expected);
      // The turn may have been between them.
      const split = 3 * line;
      expect(await replayed(whole.subarray(0, split), whole.subarray(split))).toEqual(expected);
    }
  });

  it('may end in a long record of which any sectors are missing', async () => {
    const sectorBytes = 512;
    // Older records lie behind, some at the very places of the new ones, some cut by them.
    for (const old of [journal(94, 97), Buffer.concat([92, 93].map((n) => longRecord(n)))]) {
      const before = journal(101, 101);
      const torn = longRecord(102);
      const bytes = Buffer.concat([old, old, old, old]);
      const sectors = Math.ceil((before.length + torn.length) / sectorBytes);
      expect(sectors).toBeGreaterThan(8);
      before.copy(bytes);
      for (let written = 0; written < 2 ** sectors - 1; written += 37) {
        const mixed = Buffer.from(bytes);
        for (let sector = 0; sector < sectors; sector += 1) {
          if ((written & (1 << sector)) === 0) continue;
          const [from, to] = [sector * sectorBytes, (sector + 1) * sectorBytes];
          const start = Math.max(0, from - before.length);
          const end = Math.max(0, to - before.length);
          torn.copy(mixed, before.length + start, start, Math.min(end, torn.length));
        }
        const [sequence, loss] = await replayed(mixed);
        expect(sequence, `${written}`).toBeGreaterThanOrEqual(101);
        expect(loss, `${written}`).toBeNull();
      }
    }
  });

  it('goes on in the other one, whichever is first, up to anywhere in a line', async () => {
    const resting = Buffer.concat([journal(99, 103), longRecord(96)]);
    const active = journal(104, 106);
    // The turn before it; of other lengths, so that the new lines end within the old ones.
    const old = Buffer.concat([94, 95, 96, 97].map((revision) => longRecord(revision)));
    const line = record(104).length;
    for (let length = 0; length <= active.length; length += 7) {
      const mixed = Buffer.concat([active.subarray(0, length), old.subarray(length)]);
      const complete = [103 + Math.floor(length / line), null];
      expect(await replayed(resting, mixed), `${length} bytes`).toEqual(complete);
      expect(await replayed(mixed, resting), `${length} bytes`).toEqual(complete);
    }
  });

  it('that goes on in the other one shows damage at the end of the first', async () => {
    const torn = journal(101, 103).subarray(0, -1);
    expect(await replayed(torn, journal(104, 105))).toEqual([105, 'restored']);
    expect(await replayed(journal(104, 105), torn)).toEqual([105, 'restored']);
  });

  it('is indifferent to damage behind its end', async () => {
    const end = journal(101, 102).length;
    const bytes = Buffer.concat([journal(101, 102), longRecord(99), longRecord(100)]);
    for (let index = end; index < bytes.length; index += 1) {
      expect(await replayed(flipped(bytes, index, index % 8)), `byte ${index}`).toEqual([
        102,
        null,
      ]);
    }
  });

  it('shows that state.json went back when it goes on from a later one', async () => {
    expect(await replayed(journal(105, 106))).toEqual([106, 'rolled-back']);
    const second = Buffer.concat([journal(107, 108), longRecord(90)]);
    expect(await replayed(journal(105, 106), second)).toEqual([108, 'rolled-back']);
    expect(await replayed(second, journal(105, 106))).toEqual([108, 'rolled-back']);
  });

  it('of another store says nothing', async () => {
    const foreign = Buffer.concat([record(101, 'ff00'), record(102, 'ff00')]);
    expect(await replayed(foreign)).toEqual([100, null]);
  });

  it('of a newer version stops the start', async () => {
    const newer = replayed(record(101, BASE.id, SCHEMA.major + 1));
    await expect(newer).rejects.toMatchObject({ code: 'STATE_NEWER' });
  });

  it('with a whole record that holds no state is damaged, even at its end', async () => {
    const scopes = new Map([['a', { hot: { sequence: -1 } as never }]]);
    const wrong = encodeRecord({ revision: 102, major: 1, id: BASE.id, at: AT, scopes });
    expect(await replayed(Buffer.concat([record(101), wrong]))).toEqual([101, 'restored']);
  });

  it('restores what it can without a state.json, from all records in it', async () => {
    const previous = { ...BASE, revision: 90, scopes: new Map(), savedAt: AT - 1_000 };
    const found = await recovered({
      [PATHS.state]: STATE.subarray(0, 50),
      [PATHS.previous]: Buffer.from(encodeDocument(previous)),
      [PATHS.journals[0]]: Buffer.concat([journal(101, 102), longRecord(95), longRecord(96)]),
    });
    expect(found).toMatchObject({ loss: 'restored', recordedAt: AT });
    expect(found.stored).toMatchObject({ id: BASE.id, revision: 102 });
    expect(found.stored.scopes.get('a')?.hot.sequence).toBe(102);
    expect(found.stored.scopes.has('long')).toBe(true);
  });

  it('of another store restores nothing', async () => {
    const found = await recovered({
      [PATHS.previous]: STATE,
      [PATHS.journals[0]]: Buffer.concat([record(101), record(102, 'ff00')]),
    });
    expect(found.stored).toMatchObject({ id: BASE.id, revision: 101 });
  });

  it('alone restores what it has, under the id it has', async () => {
    const found = await recovered({ [PATHS.journals[0]]: journal(101, 102) });
    expect(found).toMatchObject({ loss: 'restored', fresh: false });
    expect(found.stored).toMatchObject({ id: BASE.id, revision: 102 });
    expect(found.stored.scopes.get('a')?.hot.sequence).toBe(102);
  });
});

describe('a state.json that was in use', () => {
  const inUse = Buffer.from(encodeDocument({ ...BASE, journalsSince: 90 }));
  const first = (revision: number, id = BASE.id) =>
    encodeRecord({ revision, major: SCHEMA.major, id, at: AT, scopes: new Map() });
  const begun = (...records: Buffer[]) => Buffer.concat([first(90), ...records]);

  async function beside(
    ...[one, two]: readonly (Buffer | null)[]
  ): Promise<[number | undefined, Found['loss']]> {
    const { stored, loss } = await recovered({
      [PATHS.state]: inUse,
      ...(one && { [PATHS.journals[0]]: one }),
      ...(two && { [PATHS.journals[1]]: two }),
    });
    return [stored.scopes.get('a')?.hot.sequence, loss];
  }

  it('goes on with its journals, whatever they have', async () => {
    const whole = begun(journal(99, 103));
    expect(await beside(begun(), begun())).toEqual([100, null]);
    expect(await beside(whole, begun())).toEqual([103, null]);
    expect(await beside(begun(), whole)).toEqual([103, null]);
    expect(await beside(whole, begun(journal(104, 105), longRecord(95)))).toEqual([105, null]);
    const torn = record(104).subarray(0, 50);
    expect(await beside(whole, begun(torn))).toEqual([103, null]);
  });

  const without: Record<string, Buffer | null> = {
    missing: null,
    empty: Buffer.alloc(0),
    'filled with zeros': Buffer.alloc(500),
    'cut short within its first line': first(90).subarray(0, -1),
    'of an earlier run': first(80),
    'of another store': first(90, 'ff00'),
    'of an earlier version': journal(99, 100),
  };
  it.each(Object.keys(without))('is older than what was if one is %s', async (kind) => {
    const other = without[kind]!;
    expect(await beside(begun(journal(99, 103)), other)).toEqual([103, 'rolled-back']);
    expect(await beside(other, begun())).toEqual([100, 'rolled-back']);
    expect(await beside(other, other)).toEqual([100, 'rolled-back']);
  });

  it('shows that it went back when its journals go on from a later one', async () => {
    expect(await beside(begun(journal(105, 106)), begun())).toEqual([106, 'rolled-back']);
    expect(await beside(first(102), first(102))).toEqual([100, 'rolled-back']);
  });

  it('is not said to be older where records are damaged', async () => {
    const damaged = begun(flipped(record(101), 20, 1), record(102));
    expect(await beside(damaged, begun())).toEqual([102, 'restored']);
  });

  it('control: one that was not, or that an older version wrote on, needs none', async () => {
    const text = encodeDocument({ ...BASE, journalsSince: 90 });
    const { journals, ...older } = JSON.parse(text) as Record<string, unknown>;
    expect(journals).toEqual({ since: 90, revision: 100 });
    // It keeps a field that it does not know.
    const raised = encodeDocument({ ...BASE, others: { journals: { since: 90, revision: 99 } } });
    for (const content of [STATE, JSON.stringify(older), raised]) {
      const { loss } = await recovered({ [PATHS.state]: Buffer.from(content) });
      expect(loss).not.toBe('rolled-back');
    }
  });
});

/** Longer than `record` makes them, and of another scope besides. */
function longRecord(revision: number): Buffer {
  const { hot } = withSequence(fullScopeState(), revision);
  const scopes = new Map([
    ['a', { hot }],
    ['long', { hot }],
  ]);
  return encodeRecord({ revision, major: SCHEMA.major, id: BASE.id, at: AT, scopes });
}

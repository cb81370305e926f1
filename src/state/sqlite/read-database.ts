import Database from 'better-sqlite3';
import type { FileSystem } from '../../platform/durable-file.js';
import { errorCode, hasCode, reasonOf, TidegateError } from '../../platform/tidegate-error.js';
import type { StoredState } from '../held-state.js';
import { parseScopeState } from '../parse-state.js';
import { read, type Reading } from '../reading.js';
import { SCHEMA, type ScopeState } from '../scope-state.js';
import {
  checkRow,
  checksumOf,
  corrupt,
  joinParts,
  readStoreFacts,
  type Row,
  STORE,
  type StoreFacts,
  type Table,
} from './rows.js';
import { APPLICATION_ID, checkVersion, migrate } from './schema.js';
import { generationOf, hasFrames, imageOf, readWal } from './wal.js';

/** A scope, and the revisions that wrote its two rows last. */
export interface ReadScope {
  readonly hotRevision: number;
  /** 0 if that row is lost. */
  readonly coldRevision: number;
  readonly state: ScopeState;
}

/** Everything in a database that can be read. */
export interface ReadDatabase {
  /** Empty if that can't be read. */
  readonly id: string;
  readonly lost: StoredState['lost'];
  /** The highest in it, and that of the store's own row. */
  readonly revision: number;
  readonly storeRevision: number;
  /** Newest instant in it; 0 if there is none. */
  readonly recordedAt: number;
  readonly scopes: ReadonlyMap<string, ReadScope>;
  /** What can't be; empty: nothing is damaged. */
  readonly faults: readonly string[];
  /** A row's checksum does not fit it: changed by hand, or damaged where it does not show. */
  readonly altered: boolean;
  /**
   * Commits at its end are gone, with its log or a part of that; or it is an older one that the log of a
   * later one was laid over.
   */
  readonly cutOff: 'log missing' | 'log damaged' | 'mixed' | null;
}

/** While the files are in use, the log may be started over between two looks at it. */
const ATTEMPTS = 10;

/**
 * Reads a store's files without locks, without SQLite's help and without changing anything; what is
 * returned was the durable state at one moment. For the database is only ever written with pages
 * that are in the log too, until the next run of the log begins, and that is noticed.
 *
 * @throws TidegateError STATE_NEWER, and what says nothing about the files.
 */
export async function readDatabase(
  files: FileSystem,
  path: string,
): Promise<Reading<ReadDatabase>> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const before = await readLog(files, path);
    const database = await read(files, path, (bytes) => bytes);
    const log = await readLog(files, path);
    if (generationOf(before) !== generationOf(log)) continue;
    if (database.kind !== 'good') return database;
    try {
      return { kind: 'good', value: decodeDatabase(database.value, log) };
    } catch (error) {
      if (hasCode(error, 'STATE_CORRUPT')) return { kind: 'bad', why: error.message };
      throw hasCode(error, 'STATE_NEWER') ? namedNewer(path, error) : error;
    }
  }
  throw new TidegateError('STATE_UNAVAILABLE', `${path} changes faster than it can be read`, {
    hint: 'try again',
  });
}

/** It may be the copy that is newer, beside a database that is not. */
function namedNewer(path: string, { message, hint }: TidegateError): TidegateError {
  return new TidegateError('STATE_NEWER', `${path}: ${message}`, { hint });
}

/** Null if there is none, or it can't be read. */
async function readLog(files: FileSystem, path: string): Promise<Buffer | null> {
  const log = await read(files, `${path}-wal`, (bytes) => bytes);
  return log.kind === 'good' ? log.value : null;
}

/**
 * @throws TidegateError STATE_CORRUPT if it is not a database of Tidegate at all, STATE_NEWER.
 */
function decodeDatabase(bytes: Buffer, log: Buffer | null): ReadDatabase {
  if (bytes.length === 0) throw corrupt('it is empty');
  if (bytes.length < HEADER_BYTES || bytes.toString('latin1', 0, MAGIC.length) !== MAGIC) {
    throw corrupt('it is not a SQLite database');
  }
  if (bytes.readUInt32BE(APPLICATION_ID_AT) !== APPLICATION_ID) {
    throw corrupt('it is not a state database of Tidegate');
  }
  const wal = readWal(log);
  const database = open(imageOf(bytes, wal));
  try {
    const found = readAll(database);
    return { ...found, cutOff: wal.damaged ? 'log damaged' : cutOffOf(found, log) };
  } finally {
    database.close();
  }
}

function cutOffOf(found: ReadRows, log: Buffer | null): ReadDatabase['cutOff'] {
  if (found.inUse) return hasFrames(log) ? null : 'log missing';
  // A clean stop is the last commit of its run, and the next run begins by taking its word back.
  return found.storeRevision < found.revision ? 'mixed' : null;
}

const MAGIC = 'SQLite format 3\0';
const HEADER_BYTES = 100;
const APPLICATION_ID_AT = 68;

/** In memory: whatever happens to it there happens to no file. */
function open(image: Buffer): Database.Database {
  let database: Database.Database | undefined;
  try {
    database = new Database(image);
    checkVersion(database);
    migrate(database);
    return database;
  } catch (error) {
    database?.close();
    throw damageOf(error);
  }
}

type ReadRows = Omit<ReadDatabase, 'cutOff'> & { readonly inUse: boolean };

function readAll(database: Database.Database): ReadRows {
  const reader = new Reader(database);
  reader.attempt(() => {
    const verdict = database.pragma('integrity_check(1)', { simple: true });
    if (verdict !== 'ok') throw corrupt(String(verdict));
  });
  const facts = reader.attempt(() => readFacts(reader));
  const major = facts?.major ?? SCHEMA.major;
  const scopes = new Map<string, ReadScope>();
  for (const name of reader.names()) {
    const scope = reader.attempt(() => readScope(reader, name, major));
    if (scope !== null) scopes.set(name, scope);
  }
  const { faults, altered, revision, recordedAt } = reader;
  const { id = '', lost = null, inUse = false, storeRevision = 0 } = facts ?? {};
  return { id, lost, inUse, revision, storeRevision, recordedAt, scopes, faults, altered };
}

function readFacts(reader: Reader): StoreFacts & { readonly storeRevision: number } {
  const row = reader.row('store', STORE);
  if (row === undefined) throw corrupt('it does not say which store it is');
  return { ...readStoreFacts(row.document), storeRevision: row.revision };
}

function readScope(reader: Reader, name: string, major: number): ReadScope {
  const hot = reader.row('scope_hot', name);
  if (hot === undefined) throw corrupt(`scope "${name}" has lost its hot part`);
  const cold = reader.attempt(() => {
    const row = reader.row('scope_cold', name);
    if (row === undefined) throw corrupt(`scope "${name}" has lost its cold part`);
    return row;
  });
  const state = parseScopeState(joinParts(hot.document, cold?.document ?? null), major);
  return { hotRevision: hot.revision, coldRevision: cold?.revision ?? 0, state };
}

/** Reads row by row, so that one bad page takes no more with it than it must. */
class Reader {
  readonly faults: string[] = [];
  altered = false;
  revision = 0;
  recordedAt = 0;

  constructor(private readonly database: Database.Database) {}

  /** Null, and noted, if it is damaged. */
  attempt<Value>(work: () => Value): Value | null {
    try {
      return work();
    } catch (error) {
      const damage = damageOf(error);
      if (!hasCode(damage, 'STATE_CORRUPT')) throw damage;
      this.faults.push(damage.message);
      return null;
    }
  }

  row(table: Table, scope: string): Row | undefined {
    const row = this.database
      .prepare<[string], Row>(`SELECT * FROM ${table} WHERE scope = ?`)
      .get(scope);
    if (row === undefined) return undefined;
    checkRow(row);
    if (checksumOf(row) !== row.checksum) this.altered = true;
    this.revision = Math.max(this.revision, row.revision);
    this.recordedAt = Math.max(this.recordedAt, row.updated_at);
    return row;
  }

  /** From both tables, by their indexes: where one is damaged the other may not be. */
  names(): ReadonlySet<string> {
    const names = new Set<string>();
    for (const table of ['scope_hot', 'scope_cold']) {
      this.attempt(() => {
        const statement = this.database.prepare<[], { scope: string }>(
          `SELECT scope FROM ${table} ORDER BY scope`,
        );
        for (const { scope } of statement.iterate()) names.add(scope);
      });
    }
    return names;
  }
}

/** What SQLite says about bytes in memory can only be about the bytes. */
function damageOf(error: unknown): unknown {
  if (!errorCode(error).startsWith('SQLITE_')) return error;
  return corrupt(reasonOf(error), error);
}

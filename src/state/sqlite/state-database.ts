import { closeSync, openSync, statSync } from 'node:fs';
import Database from 'better-sqlite3';
import { SYSTEM_TIME } from '../../platform/clock.js';
import { PRIVATE_FILE } from '../../platform/durable-file.js';
import { errorCode, TidegateError } from '../../platform/tidegate-error.js';
import type { Instant } from '../scope-state.js';
import { APPLICATION_ID, migrate, PAGE_BYTES } from './schema.js';
import { type Row, rowOf, type Table, TABLES, type Write } from './rows.js';

/** One transaction. */
export interface Commit {
  readonly revision: number;
  readonly at: Instant;
  readonly writes: readonly Write[];
  /** The run ends with it: the next start needs no log. */
  readonly last?: true;
}

/** Of a row that was written before; undefined for one that is new with this commit. */
type RevisionOf = (write: Write) => number | undefined;

/** How long another program's transaction is waited for. */
const BUSY_MS = 1_000;

/**
 * The log is emptied into the database from here on: it bounds the file and what a start has to read.
 */
const LOG_BYTES = 4 * 1024 * 1024;

/**
 * A commit looks whether the files are still those that are open, unless one has within this time. Not every
 * one: once somebody has asked for a file's times, Linux (from 6.13 on) gives the next write one of its own, and the
 * flush then writes the inode, too, which takes half as long again.
 */
const LOOK_EVERY_MS = 100;

/** A write that these codes end has not happened: the frame that commits comes last. */
const NOT_WRITTEN = /^SQLITE_(FULL|IOERR_WRITE|BUSY|READONLY)/;

/**
 * An open state.db: what is done here is done, durably, when a method returns. It blocks for as long as
 * the disk takes, and so belongs on a thread of its own.
 *
 * Every row remembers the revision that wrote it, and is only written over what was left there, and ten times
 * a second the files are looked at: whoever changes or replaces them meanwhile is noticed.
 */
export class StateDatabase {
  readonly #path: string;
  readonly #monotonic: () => number;
  readonly #database: Database.Database;
  readonly #statements: Statements;
  /** Revision of each row, by table. */
  readonly #revisions = new Map<Table, Map<string, number>>();
  #identity = '';
  #lookedAt = Number.NEGATIVE_INFINITY;
  #logBytes = 0;
  /** What is in the log is on the disk, and of a run that has not ended. */
  #logIsNeeded = true;

  /** Opens a file that `create` has made. */
  constructor(path: string, monotonic: () => number = SYSTEM_TIME.monotonic) {
    this.#path = path;
    this.#monotonic = monotonic;
    this.#database = new Database(path, { fileMustExist: true, timeout: BUSY_MS });
    try {
      this.#database.pragma('journal_mode = WAL');
      this.#database.pragma('synchronous = FULL');
      // By hand, for SQLite would not say that it failed.
      this.#database.pragma('wal_autocheckpoint = 0');
      migrate(this.#database);
      this.#statements = prepare(this.#database);
    } catch (error) {
      this.#database.close();
      throw error;
    }
  }

  /**
   * Makes a new, whole database, which the caller then flushes and moves to its place.
   *
   * @throws what SQLite and the file system say; a file may be left over.
   */
  static create(path: string, commit: Commit, revisionOf?: RevisionOf): void {
    // SQLite gives its other files the permissions of this one.
    closeSync(openSync(path, 'wx', PRIVATE_FILE));
    const database = new Database(path, { fileMustExist: true });
    try {
      database.pragma(`page_size = ${PAGE_BYTES}`);
      database.pragma(`application_id = ${APPLICATION_ID}`);
      // Nobody misses it before it is whole.
      database.pragma('journal_mode = OFF');
      database.pragma('synchronous = OFF');
      migrate(database);
      const { insert } = prepare(database);
      database
        .transaction(() => {
          for (const [table, row] of rowsOf(commit, revisionOf)) insert[table].run(row);
        })
        .immediate();
    } finally {
      database.close();
    }
  }

  /**
   * Makes a new database, too, of what this one is to hold, row by row with the revision it has here: by
   * that a start knows which of the two is older.
   */
  copyTo(path: string, commit: Commit): void {
    const revisionOf = ({ table, scope }: Write) => this.#revisions.get(table)?.get(scope);
    StateDatabase.create(path, commit, revisionOf);
  }

  /** Writes every row anew, whatever stands there, and proves that log and database can be flushed. */
  rewrite(commit: Commit): void {
    this.#attempt(() => {
      this.#transaction(() => {
        for (const table of TABLES) {
          this.#statements.clear[table].run();
          this.#revisions.set(table, new Map());
        }
        for (const [table, row] of rowsOf(commit)) this.#statements.insert[table].run(row);
      });
      this.#remember(commit);
      this.checkpoint();
      this.#identity = this.#identityNow();
    });
  }

  /**
   * @throws TidegateError STATE_UNKNOWN if it may or may not have been written; any other error
   *   means that it was not.
   */
  commit(commit: Commit): void {
    this.#attempt(() => {
      this.#look();
      if (this.#logBytes >= LOG_BYTES) this.checkpoint();
      this.#transaction(() => {
        for (const [table, row] of rowsOf(commit)) this.#write(table, row);
      });
      this.#remember(commit);
      if (commit.last) this.#logIsNeeded = false;
    });
  }

  /** Brings the database up to its log, as far as nobody reads in it. */
  checkpoint(): void {
    this.#attempt(() => this.#database.pragma('wal_checkpoint(PASSIVE)'));
    this.#logBytes = 0;
  }

  /**
   * SQLite empties the log and removes it with the last connection that may write. Where a run ends without
   * saying so, as on a full disk, the start after it would take that for a loss: so one that may not write is
   * the last. Not where a flush has failed: what the system holds of such a log may not be on the disk.
   */
  close(): void {
    const keeper = this.#logIsNeeded ? this.#reader() : null;
    this.#database.close();
    keeper?.close();
  }

  #reader(): Database.Database | null {
    let reader: Database.Database | null = null;
    try {
      reader = new Database(this.#path, { readonly: true });
      // Before it has read, the log has nothing to do with it.
      reader.prepare('SELECT revision FROM store').get();
      return reader;
    } catch {
      reader?.close();
      return null;
    }
  }

  #attempt(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!NOT_WRITTEN.test(errorCode(error))) this.#logIsNeeded = false;
      throw error;
    }
  }

  #write(table: Table, row: Row): void {
    const before = this.#revisions.get(table)?.get(row.scope);
    if (before === undefined) {
      this.#statements.insert[table].run(row);
      return;
    }
    const { changes } = this.#statements.update[table].run({ ...row, before });
    if (changes !== 1) throw replaced(this.#path);
  }

  #transaction(work: () => void): void {
    this.#statements.begin.run();
    try {
      work();
    } catch (error) {
      this.#rollBack();
      throw error;
    }
    try {
      this.#statements.commit.run();
    } catch (error) {
      this.#rollBack();
      throw NOT_WRITTEN.test(errorCode(error)) ? error : unknownOutcome(this.#path, error);
    }
  }

  /** After some errors SQLite has done it already. */
  #rollBack(): void {
    if (this.#database.inTransaction) this.#statements.rollback.run();
  }

  #remember({ revision, writes }: Commit): void {
    for (const { table, scope, document } of writes) {
      this.#revisions.get(table)?.set(scope, revision);
      this.#logBytes += document.length + 2 * PAGE_BYTES;
    }
  }

  #look(): void {
    const now = this.#monotonic();
    if (now - this.#lookedAt < LOOK_EVERY_MS) return;
    if (this.#identity !== this.#identityNow()) throw replaced(this.#path);
    this.#lookedAt = now;
  }

  /** Of the files under these names: they must stay the ones that are open. */
  #identityNow(): string {
    try {
      return [this.#path, `${this.#path}-wal`]
        .map((path) => statSync(path))
        .map(({ dev, ino }) => `${dev}:${ino}`)
        .join(' ');
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return 'missing';
      throw error;
    }
  }
}

type Statement<Parameters extends unknown[]> = Database.Statement<Parameters>;

interface Statements {
  readonly begin: Statement<[]>;
  readonly commit: Statement<[]>;
  readonly rollback: Statement<[]>;
  readonly clear: Readonly<Record<Table, Statement<[]>>>;
  readonly insert: Readonly<Record<Table, Statement<[Row]>>>;
  readonly update: Readonly<Record<Table, Statement<[Row & { readonly before: number }]>>>;
}

function prepare(database: Database.Database): Statements {
  const each = <Made>(make: (table: Table) => Made) =>
    Object.fromEntries(TABLES.map((table) => [table, make(table)])) as Record<Table, Made>;
  return {
    begin: database.prepare('BEGIN IMMEDIATE'),
    commit: database.prepare('COMMIT'),
    rollback: database.prepare('ROLLBACK'),
    clear: each((table) => database.prepare(`DELETE FROM ${table}`)),
    insert: each((table) =>
      database.prepare(
        `INSERT INTO ${table} (scope, revision, updated_at, checksum, document)
         VALUES (@scope, @revision, @updated_at, @checksum, @document)`,
      ),
    ),
    update: each((table) =>
      database.prepare(
        `UPDATE ${table}
         SET revision = @revision, updated_at = @updated_at, checksum = @checksum, document = @document
         WHERE scope = @scope AND revision = @before`,
      ),
    ),
  };
}

function rowsOf({ revision, at, writes }: Commit, revisionOf?: RevisionOf): [Table, Row][] {
  return writes.map((write) => [write.table, rowOf(write, revisionOf?.(write) ?? revision, at)]);
}

function replaced(path: string): TidegateError {
  return new TidegateError(
    'STATE_UNAVAILABLE',
    `${path} or its log was changed, replaced or removed by another program`,
    { hint: 'leave the files alone while Tidegate runs; it goes on from memory, with caution' },
  );
}

function unknownOutcome(path: string, cause: unknown): TidegateError {
  const message = `${path} could not be flushed (${errorCode(cause)}); what it holds is not known`;
  return new TidegateError('STATE_UNKNOWN', message, { hint: 'check the disk', cause });
}

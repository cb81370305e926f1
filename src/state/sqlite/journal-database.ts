import { closeSync, openSync } from 'node:fs';
import Database from 'better-sqlite3';
import { PRIVATE_FILE } from '../../platform/durable-file.js';
import {
  entryOf,
  type FoundRow,
  type JournalEntry,
  type JournalQuery,
  KEPT_MS,
  MOST_READ,
  MOST_ROWS,
  type RequestNumber,
  rowOf,
  STREAMS,
} from '../event-journal.js';
import type { Instant } from '../scope-state.js';

/** What a journal is asked to do. */
export type JournalRequest =
  | { readonly call: 'append'; readonly entries: readonly JournalEntry[] }
  | { readonly call: 'read'; readonly query: JournalQuery }
  | { readonly call: 'find'; readonly request: RequestNumber }
  | { readonly call: 'prune'; readonly now: Instant }
  | { readonly call: 'close' };

/** How long another connection may hold the lock: `tidegate events` reads while an instance writes. */
const BUSY_MS = 2_000;
const VERSION = 1;

/**
 * The journal's database, in a file of its own: the state's is read whole at a start and copied every
 * minute, and neither should grow with what is told of the past. `synchronous=NORMAL`: a power cut may
 * cost the newest entries and nothing else; those of events are in the state, and are copied again.
 */
export class JournalDatabase {
  readonly #database: Database.Database;

  constructor(path: string) {
    closeSync(openSync(path, 'a', PRIVATE_FILE));
    this.#database = new Database(path, { timeout: BUSY_MS });
    try {
      this.#database.pragma('journal_mode = WAL');
      this.#database.pragma('synchronous = NORMAL');
      if (this.#database.pragma('user_version', { simple: true }) === 0) this.#create();
    } catch (error) {
      this.#database.close();
      throw error;
    }
  }

  serve(request: JournalRequest): readonly JournalEntry[] {
    switch (request.call) {
      case 'append':
        return this.#append(request.entries);
      case 'read':
        return this.#read(request.query);
      case 'find':
        return this.#find(request.request);
      case 'prune':
        return this.#prune(request.now);
      case 'close':
        this.#database.close();
        return [];
    }
  }

  #create(): void {
    this.#database
      .transaction(() => {
        this.#database.exec(`
          CREATE TABLE IF NOT EXISTS journal (
            stream TEXT NOT NULL,
            scope TEXT NOT NULL,
            id INTEGER NOT NULL,
            at INTEGER NOT NULL,
            prefix TEXT NOT NULL,
            first INTEGER,
            last INTEGER,
            document TEXT NOT NULL,
            PRIMARY KEY (stream, scope, id, prefix)
          ) STRICT, WITHOUT ROWID;
          CREATE INDEX IF NOT EXISTS journal_at ON journal (stream, at);
          CREATE INDEX IF NOT EXISTS journal_requests ON journal (prefix, last) WHERE prefix <> '';
        `);
        this.#database.pragma(`user_version = ${VERSION}`);
      })
      .immediate();
  }

  #append(entries: readonly JournalEntry[]): [] {
    const insert = this.#database.prepare<[ReturnType<typeof rowOf>]>(
      `INSERT INTO journal (stream, scope, id, at, prefix, first, last, document)
       VALUES (@stream, @scope, @id, @at, @prefix, @first, @last, @document)
       ON CONFLICT DO NOTHING`,
    );
    this.#database
      .transaction(() => {
        for (const entry of entries) insert.run(rowOf(entry));
      })
      .immediate();
    return [];
  }

  #read({ stream, scope, from, most }: JournalQuery): JournalEntry[] {
    const where = `stream = @stream AND at >= @from ${scope === null ? '' : 'AND scope = @scope'}`;
    return this.#database
      .prepare<[object], FoundRow>(
        `SELECT * FROM journal WHERE ${where} ORDER BY at DESC, id DESC, scope DESC LIMIT @limit`,
      )
      .all({ stream, scope, from, limit: Math.min(most, MOST_READ) })
      .map(entryOf)
      .toReversed();
  }

  #find({ prefix, number }: RequestNumber): JournalEntry[] {
    return this.#database
      .prepare<[object], FoundRow>(
        `SELECT * FROM journal
         WHERE prefix = @prefix AND prefix <> '' AND last >= @number AND first <= @number
         ORDER BY at, id, scope`,
      )
      .all({ prefix, number })
      .map(entryOf);
  }

  #prune(now: Instant): [] {
    const old = this.#database.prepare('DELETE FROM journal WHERE stream = ? AND at < ?');
    const many = this.#database.prepare(
      `DELETE FROM journal WHERE stream = ? AND at <
         (SELECT at FROM journal WHERE stream = ? ORDER BY at DESC LIMIT 1 OFFSET ?)`,
    );
    for (const stream of STREAMS) {
      old.run(stream, now - KEPT_MS[stream]);
      many.run(stream, stream, MOST_ROWS[stream]);
    }
    return [];
  }
}

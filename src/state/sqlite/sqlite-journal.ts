import { dirname } from 'node:path';
import { rfc3339, SYSTEM_TIME } from '../../platform/clock.js';
import { type FileSystem, makeDirectory, SYSTEM_FILES } from '../../platform/durable-file.js';
import { errorCode, reasonOf, TidegateError } from '../../platform/tidegate-error.js';
import { SYSTEM_TIMERS, withDeadline } from '../../platform/timers.js';
import type { EventJournal, JournalEntry, JournalQuery, RequestNumber } from '../event-journal.js';
import type { Instant } from '../scope-state.js';
import { setAside } from '../set-aside.js';
import type { JournalRequest } from './journal-database.js';
import { ThreadConnection } from './thread-connection.js';

export interface SqliteJournalOptions {
  /** Of state.db, absolute; the journal is a database beside it. */
  readonly path: string;
  /** What the thread runs; tests take it from the build. */
  readonly thread?: URL;
  readonly files?: FileSystem;
}

/** Requests that wait for a disk that hangs, or for the thread to start. */
const MOST_ASKED = 256;
/** How long `close` waits for that. */
const CLOSE_MS = 2_000;
/** What SQLite says of a file that is no database any more. */
const DAMAGED = /^SQLITE_(CORRUPT|NOTADB)/;

/** A table in `state.db.events`, used on a thread of its own. */
export class SqliteEventJournal implements EventJournal {
  readonly #path: string;
  readonly #files: FileSystem;
  readonly #thread: ThreadConnection<JournalRequest, readonly JournalEntry[]>;
  /** Requests that have no answer, also before the thread has them. */
  #asked = 0;
  /** Its directory is made, by the first request, or the next where that failed. */
  #ready: Promise<void> | null = null;
  #problem: string | null = null;
  #closed = false;

  constructor({ path, thread, files = SYSTEM_FILES }: SqliteJournalOptions) {
    this.#path = `${path}.events`;
    this.#files = files;
    const file = thread ?? new URL('./journal-thread.js', import.meta.url);
    this.#thread = new ThreadConnection(file, { name: 'journal', workerData: this.#path });
  }

  async append(entries: readonly JournalEntry[]): Promise<void> {
    await this.#call({ call: 'append', entries });
  }

  read(query: JournalQuery): Promise<readonly JournalEntry[]> {
    return this.#call({ call: 'read', query });
  }

  find(request: RequestNumber): Promise<readonly JournalEntry[]> {
    return this.#call({ call: 'find', request });
  }

  async prune(now: Instant): Promise<void> {
    await this.#call({ call: 'prune', now });
  }

  get problem(): string | null {
    return this.#problem;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    // What waits for that comes before the end.
    await this.#ready?.catch(() => undefined);
    await withDeadline(SYSTEM_TIMERS, CLOSE_MS, this.#thread.close(), undefined);
    await this.#thread.terminate();
  }

  async #call(request: JournalRequest): Promise<readonly JournalEntry[]> {
    if (this.#closed) throw new TidegateError('STATE_CLOSED', 'the journal is closed');
    if (this.#asked >= MOST_ASKED) throw this.#fault('its disk does not answer');
    this.#asked += 1;
    try {
      await (this.#ready ??= this.#makeDirectory());
      const entries = await this.#thread.call(request);
      this.#problem = null;
      return entries;
    } catch (error) {
      if (DAMAGED.test(errorCode(error))) await this.#beginAnew();
      throw this.#fault(reasonOf(error));
    } finally {
      this.#asked -= 1;
    }
  }

  async #makeDirectory(): Promise<void> {
    try {
      await makeDirectory(this.#files, dirname(this.#path));
    } catch (error) {
      this.#ready = null;
      throw error;
    }
  }

  /** A damaged journal is kept for people to look at; the next call makes a new one. */
  async #beginAnew(): Promise<void> {
    await this.#thread.terminate();
    await setAside(this.#files, this.#path, rfc3339(SYSTEM_TIME.wall())).catch(() => undefined);
    for (const ending of ['-wal', '-shm'])
      await this.#files.rm(`${this.#path}${ending}`, { force: true });
  }

  #fault(reason: string): TidegateError {
    this.#problem = `${this.#path} can't be used: ${reason}`;
    return new TidegateError('STATE_UNAVAILABLE', this.#problem);
  }
}

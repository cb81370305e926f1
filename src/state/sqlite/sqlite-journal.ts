import { dirname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { rfc3339, SYSTEM_TIME } from '../../platform/clock.js';
import { type FileSystem, makeDirectory, SYSTEM_FILES } from '../../platform/durable-file.js';
import { TidegateError } from '../../platform/tidegate-error.js';
import { SYSTEM_TIMERS, withDeadline } from '../../platform/timers.js';
import type {
  EventJournal,
  JournalEntry,
  JournalHealth,
  JournalQuery,
  RequestNumber,
} from '../event-journal.js';
import type { Instant } from '../scope-state.js';
import { setAside } from '../set-aside.js';
import type { JournalRequest } from './journal-database.js';
import type { JournalAnswer } from './journal-thread.js';

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

interface Waiting {
  readonly resolve: (entries: readonly JournalEntry[]) => void;
  readonly reject: (error: Error) => void;
}

/**
 * A table in `state.db.events`, on a thread of its own: a disk that hangs must not stop the streams that pass
 * meanwhile. The thread begins with the first call, and lives until `close`.
 */
export class SqliteEventJournal implements EventJournal {
  readonly kind = 'sqlite';
  readonly #options: SqliteJournalOptions;
  readonly #path: string;
  readonly #waiting: Waiting[] = [];
  /** Requests that have no answer, also before the thread has them. */
  #asked = 0;
  #worker: Promise<Worker> | null = null;
  #running: Worker | null = null;
  #problem: string | null = null;
  #closed = false;

  constructor(options: SqliteJournalOptions) {
    this.#options = options;
    this.#path = `${options.path}.events`;
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

  health(): JournalHealth {
    return { problem: this.#problem, dropped: 0 };
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const worker = await this.#worker?.catch(() => null);
    if (worker == null) return;
    const closed = this.#ask(worker, { call: 'close' }).catch(() => []);
    await withDeadline(SYSTEM_TIMERS, CLOSE_MS, closed, []);
    await worker.terminate();
  }

  async #call(request: JournalRequest): Promise<readonly JournalEntry[]> {
    if (this.#closed) throw new TidegateError('STATE_CLOSED', 'the journal is closed');
    if (this.#asked >= MOST_ASKED) throw this.#fault('its disk does not answer');
    this.#asked += 1;
    try {
      const entries = await this.#ask(await this.#started(), request);
      this.#problem = null;
      return entries;
    } catch (error) {
      const code = (error as { code?: string }).code ?? '';
      if (DAMAGED.test(code)) await this.#beginAnew();
      throw this.#fault(error instanceof Error ? error.message : String(error));
    } finally {
      this.#asked -= 1;
    }
  }

  #ask(worker: Worker, request: JournalRequest): Promise<readonly JournalEntry[]> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      worker.ref();
      worker.postMessage(request);
    });
  }

  /** The thread; one whose start has failed is begun anew by the next call. */
  #started(): Promise<Worker> {
    return (this.#worker ??= this.#start().catch((error: unknown) => {
      this.#worker = null;
      throw error;
    }));
  }

  async #start(): Promise<Worker> {
    await makeDirectory(this.#options.files ?? SYSTEM_FILES, dirname(this.#path));
    const { thread = new URL('./journal-thread.js', import.meta.url) } = this.#options;
    const worker = new Worker(thread, { name: 'journal', workerData: this.#path });
    worker.unref();
    worker.on('message', (answer: JournalAnswer) => {
      const waiting = this.#waiting.shift();
      if (this.#waiting.length === 0) worker.unref();
      if ('entries' in answer) waiting?.resolve(answer.entries);
      else waiting?.reject(Object.assign(new Error(answer.message), { code: answer.code }));
    });
    // The next call begins another.
    const end = (error: Error) => {
      if (this.#running !== worker) return;
      this.#running = null;
      this.#worker = null;
      for (const waiting of this.#waiting.splice(0)) waiting.reject(error);
    };
    worker.on('error', end);
    worker.on('exit', () => end(new Error('the thread of the journal has ended')));
    this.#running = worker;
    return worker;
  }

  /** A damaged journal is kept for people to look at; the next call makes a new one. */
  async #beginAnew(): Promise<void> {
    await this.#running?.terminate();
    const files = this.#options.files ?? SYSTEM_FILES;
    await setAside(files, this.#path, rfc3339(SYSTEM_TIME.wall())).catch(() => undefined);
    for (const ending of ['-wal', '-shm'])
      await files.rm(`${this.#path}${ending}`, { force: true });
  }

  #fault(reason: string): TidegateError {
    this.#problem = `${this.#path} can't be used: ${reason}`;
    return new TidegateError('STATE_UNAVAILABLE', this.#problem);
  }
}

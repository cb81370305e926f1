import { Worker } from 'node:worker_threads';
import { TidegateError } from '../../platform/tidegate-error.js';
import type { Answer, Fault } from './database-thread.js';
import type { Connection, Request } from './requests.js';

/** Options of Node for the thread; tests run it from the sources. */
export interface ThreadOptions {
  readonly execArgv?: readonly string[];
}

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/**
 * A state.db on a thread of its own. A flush takes a quarter of a millisecond, and minutes on a disk
 * that fails: neither may hold up the streams that pass meanwhile.
 *
 * One call at a time; the caller sees to that.
 */
export class ThreadConnection implements Connection {
  readonly #options: ThreadOptions;
  #worker: Worker | null = null;
  #waiting: Waiting | null = null;

  constructor(options: ThreadOptions = {}) {
    this.#options = options;
    // It loads the driver while the caller takes the lock and reads.
    this.#worker = this.#start();
    this.#worker.unref();
  }

  call(request: Request): Promise<void> {
    const worker = (this.#worker ??= this.#start());
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      // Idle, it does not keep the process alive.
      worker.ref();
      worker.postMessage(request);
    });
  }

  /** Ends the thread too. */
  async close(): Promise<void> {
    if (this.#worker === null) return;
    await this.call({ call: 'close' }).catch(() => undefined);
    await this.#worker?.terminate();
    this.#worker = null;
  }

  #start(): Worker {
    const { execArgv } = this.#options;
    const worker = new Worker(new URL('./database-thread.js', import.meta.url), {
      name: 'state',
      ...(execArgv && { execArgv: [...execArgv] }),
    });
    worker.on('message', (answer: Answer) => this.#settle(worker, answer && errorOf(answer)));
    // A thread that dies takes no commit with it that was answered; the next start begins another.
    worker.on('error', (error) => this.#settle(worker, error));
    worker.on('exit', () => {
      if (this.#worker === worker) this.#worker = null;
      this.#settle(worker, new Error('the thread of the database has ended'));
    });
    return worker;
  }

  #settle(worker: Worker, error: unknown): void {
    const waiting = this.#waiting;
    this.#waiting = null;
    worker.unref();
    if (error === null) waiting?.resolve();
    else waiting?.reject(error);
  }
}

function errorOf({ message, code, own }: Fault): Error {
  if (own === null) return Object.assign(new Error(message), { code });
  return new TidegateError(own.code, message, own.hint === undefined ? {} : { hint: own.hint });
}

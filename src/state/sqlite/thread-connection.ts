import { parentPort, Worker } from 'node:worker_threads';
import { errorCode, reasonOf, TidegateError } from '../../platform/tidegate-error.js';

/*
 * A database on a thread of its own. A flush takes a quarter of a millisecond, and minutes on a disk that
 * fails: neither may hold up the streams that pass meanwhile. Both ends of the way there are here: requests
 * are answered in their order, each by a value or by what was thrown.
 */

type Answer<Value> = { readonly value: Value } | { readonly fault: Fault };

/** An error as it passes between threads, which would lose its class and its code. */
interface Fault {
  readonly message: string;
  /** Of SQLite or the system: `SQLITE_FULL`, `ENOSPC`. */
  readonly code: string;
  /** Where it is an error of our own. */
  readonly own: { readonly code: TidegateError['code']; readonly hint: string | undefined } | null;
}

/** On the thread: answers every request with what `serve` makes of it. */
export function serveOnThread<Request, Value>(serve: (request: Request) => Value): void {
  parentPort?.on('message', (request: Request) => {
    let answer: Answer<Value>;
    try {
      answer = { value: serve(request) };
    } catch (error) {
      answer = { fault: faultOf(error) };
    }
    parentPort?.postMessage(answer);
  });
}

function faultOf(error: unknown): Fault {
  const own = error instanceof TidegateError ? { code: error.code, hint: error.hint } : null;
  const message = reasonOf(error);
  return { message, code: errorCode(error), own };
}

function errorOf({ message, code, own }: Fault): Error {
  if (own === null) return Object.assign(new Error(message), { code });
  return new TidegateError(own.code, message, { hint: own.hint });
}

/** What every such thread is asked last. */
type Close = { readonly call: 'close' };

interface Options {
  /** Of the thread, for people. */
  readonly name: string;
  readonly workerData?: unknown;
}

interface Waiting<Value> {
  readonly resolve: (value: Value) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * The way to such a thread, which begins with the first call, and once more with the next if it has died. Idle,
 * it does not keep the process alive.
 */
export class ThreadConnection<Request, Value = void> {
  readonly #file: URL;
  readonly #options: Options;
  readonly #waiting: Waiting<Value>[] = [];
  #worker: Worker | null = null;

  constructor(file: URL, options: Options) {
    this.#file = file;
    this.#options = options;
  }

  /** Before the first call. */
  begin(): this {
    this.#worker ??= this.#start();
    return this;
  }

  /** Rejects with TidegateError, or with an Error that has SQLite's or the system's code. */
  call(request: Request | Close): Promise<Value> {
    const worker = (this.#worker ??= this.#start());
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      worker.ref();
      worker.postMessage(request);
    });
  }

  /** Closes the database, whatever state it is in, and ends the thread. */
  async close(): Promise<void> {
    if (this.#worker !== null) await this.call({ call: 'close' }).catch(() => undefined);
    await this.terminate();
  }

  /** Ends the thread at once; whoever waits for it is told. */
  async terminate(): Promise<void> {
    await this.#worker?.terminate();
  }

  #start(): Worker {
    const worker = new Worker(this.#file, this.#options);
    worker.unref();
    worker.on('message', (answer: Answer<Value>) => {
      const waiting = this.#waiting.shift();
      if (this.#waiting.length === 0) worker.unref();
      if ('value' in answer) waiting?.resolve(answer.value);
      else waiting?.reject(errorOf(answer.fault));
    });
    // A thread that dies takes no commit with it that was answered.
    let reason = new Error(`the thread "${this.#options.name}" has ended`);
    worker.on('error', (error: Error) => (reason = error));
    worker.on('exit', () => {
      this.#worker = null;
      for (const waiting of this.#waiting.splice(0)) waiting.reject(reason);
    });
    return worker;
  }
}

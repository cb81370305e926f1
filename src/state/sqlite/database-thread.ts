/** The thread that a state.db is written on; ThreadConnection talks to it. */
import { parentPort } from 'node:worker_threads';
import { errorCode } from '../../platform/durable-file.js';
import { TidegateError } from '../../platform/tidegate-error.js';
import { type Request, RequestServer } from './requests.js';

/** Null: done. */
export type Answer = Fault | null;

export interface Fault {
  readonly message: string;
  /** Of SQLite or the system: `SQLITE_FULL`, `ENOSPC`. */
  readonly code: string;
  /** Where it is an error of our own. */
  readonly own: { readonly code: TidegateError['code']; readonly hint: string | undefined } | null;
}

function faultOf(error: unknown): Fault {
  const own = error instanceof TidegateError ? { code: error.code, hint: error.hint } : null;
  const message = error instanceof Error ? error.message : String(error);
  return { message, code: errorCode(error), own };
}

const server = new RequestServer();

parentPort?.on('message', (request: Request) => {
  let answer: Answer = null;
  try {
    server.serve(request);
  } catch (error) {
    answer = faultOf(error);
  }
  parentPort?.postMessage(answer);
});

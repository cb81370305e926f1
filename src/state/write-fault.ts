import { errorCode, reasonOf, TidegateError } from '../platform/tidegate-error.js';

const REMEDIES: Readonly<Record<string, string>> = {
  ENOSPC: 'free space on its disk',
  EDQUOT: 'raise the quota of its disk',
  EROFS: 'make its disk writable',
  EACCES: 'give the user Tidegate runs as the right to write its directory',
  EPERM: 'give the user Tidegate runs as the right to write its directory',
  ENOTDIR: 'a file stands where its directory should be',
  EISDIR: 'a directory stands in its place: move it away',
  EMFILE: 'raise the limit of open files',
  SQLITE_FULL: 'free space on its disk',
  SQLITE_BUSY: 'another program writes to it: end that',
  SQLITE_READONLY: 'make its disk writable',
};

/** What a store with files says of itself when `path` could not be written. */
export function writeFault(path: string, error: unknown): TidegateError {
  if (error instanceof TidegateError) return error;
  const reason = reasonOf(error);
  return new TidegateError('STATE_UNAVAILABLE', `${path} can't be written (${reason})`, {
    hint: REMEDIES[errorCode(error)] ?? 'look at its disk',
    cause: error,
  });
}

/** For the operator, in one sentence. */
export function problemOf({ message, hint }: TidegateError): string {
  return hint === undefined ? message : `${message}: ${hint}`;
}

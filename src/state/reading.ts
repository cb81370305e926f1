import type { FileSystem } from '../platform/durable-file.js';
import { errorCode, hasCode, TidegateError } from '../platform/tidegate-error.js';
import type { LossPolicy } from './state-repository.js';

/** What a file of a store was found to be. */
export type Reading<Value> =
  | { readonly kind: 'good'; readonly value: Value }
  | { readonly kind: 'missing' }
  | { readonly kind: 'bad'; readonly why: string };

/** The file is there and can't be read: it is as good as damaged. */
const UNREADABLE = new Set(['EACCES', 'EPERM', 'EISDIR', 'EIO', 'ELOOP', 'ERR_FS_FILE_TOO_LARGE']);

/**
 * @throws what says nothing about the file (too many are open, a network disk is away), and what
 *   `decode` says other than STATE_CORRUPT.
 */
export async function read<Value>(
  files: FileSystem,
  path: string,
  decode: (bytes: Buffer) => Value,
): Promise<Reading<Value>> {
  try {
    return { kind: 'good', value: decode(await files.readFile(path)) };
  } catch (error) {
    const code = errorCode(error);
    if (code === 'ENOENT') return { kind: 'missing' };
    if (hasCode(error, 'STATE_CORRUPT')) return { kind: 'bad', why: error.message };
    if (UNREADABLE.has(code)) return { kind: 'bad', why: `it can't be opened (${code})` };
    throw error;
  }
}

/** @throws TidegateError STATE_CORRUPT, where the operator asked for that. */
export function refuseIf(policy: LossPolicy, path: string, why: string): void {
  if (policy.onCorrupt !== 'refuse') return;
  throw new TidegateError('STATE_CORRUPT', `${path} can't be used: ${why}`, {
    hint: 'put a good copy in its place, or set TIDEGATE_ON_CORRUPT_STATE=cautious to go on',
  });
}

import { basename, dirname } from 'node:path';
import { SYSTEM_FILES } from '../platform/durable-file.js';
import { errorCode } from '../platform/tidegate-error.js';

/**
 * Whether two paths name one store: a file of that name in that directory, whichever way leads there. Where a link
 * stands in place of the file itself, the first write of a store replaces it, and so it is a store of its own.
 */
export async function isSamePlace(one: string, other: string): Promise<boolean> {
  if (one === other) return true;
  if (basename(one) !== basename(other)) return false;
  const [here, there] = [await inodeOf(dirname(one)), await inodeOf(dirname(other))];
  return here !== null && here === there;
}

async function inodeOf(directory: string): Promise<string | null> {
  try {
    const { dev, ino } = await SYSTEM_FILES.stat(directory);
    return `${dev} ${ino}`;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return null;
    throw error;
  }
}

import { type FileSystem, SYSTEM_FILES } from '../../platform/durable-file.js';
import type { FoundState } from '../held-state.js';
import { TRUSTING } from '../state-repository.js';
import { databasePaths, recover } from './recovery.js';

/**
 * What a store says, without its lock and without changing anything: the durable state at one moment,
 * also while an instance writes it. Null: no store is there.
 *
 * @throws TidegateError STATE_NEWER, and what says nothing about the files.
 */
export async function inspectDatabase(
  path: string,
  files: FileSystem = SYSTEM_FILES,
): Promise<FoundState | null> {
  const found = await recover(files, databasePaths(path), TRUSTING, false);
  return found.fresh ? null : found;
}

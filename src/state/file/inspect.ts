import { type FileSystem, SYSTEM_FILES } from '../../platform/durable-file.js';
import { TidegateError } from '../../platform/tidegate-error.js';
import type { FoundState } from '../held-state.js';
import { read } from '../reading.js';
import { TRUSTING } from '../state-repository.js';
import { decodeDocument } from './document.js';
import { recover, storePaths } from './recovery.js';

/** While the store is in use, state.json may be replaced between two looks at it. */
const ATTEMPTS = 10;

/**
 * What a store says, without its lock and without changing anything: the durable state at one moment,
 * also while an instance writes it. Null: no store is there.
 *
 * @throws TidegateError STATE_NEWER, and what says nothing about the files.
 */
export async function inspectFiles(
  path: string,
  files: FileSystem = SYSTEM_FILES,
): Promise<FoundState | null> {
  const paths = storePaths(path);
  const revisionNow = async () => {
    const current = await read(files, paths.state, decodeDocument);
    return current.kind === 'good' ? current.value.revision : current.kind;
  };
  let doubtful: number | null = null;
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const before = await revisionNow();
    const found = await recover(files, paths, TRUSTING, false);
    // A journal starts over only after state.json was replaced: they belong to this one.
    if (before !== (await revisionNow())) continue;
    const { fresh, loss, stored } = found;
    if (fresh) return null;
    // One that turned between two looks seems to lack what the other has; damage stays as it is.
    if (loss === null || stored.revision === doubtful) return found;
    doubtful = stored.revision;
  }
  throw new TidegateError('STATE_UNAVAILABLE', `${path} changes faster than it can be read`, {
    hint: 'try again',
  });
}

import { type FileSystem, SYSTEM_FILES } from '../../platform/durable-file.js';
import { SYSTEM_TIMERS, type Timers } from '../../platform/timers.js';
import { openSoleStore } from '../sole-repository.js';
import type { StateRepository } from '../state-repository.js';
import { type FileStoreOptions, StateFiles } from './state-files.js';

/** Opens the store whose state.json is at `options.path`; see openSoleStore. */
export function openFileStateRepository(
  options: FileStoreOptions & { readonly timers?: Timers; readonly files?: FileSystem },
): Promise<StateRepository> {
  const { timers = SYSTEM_TIMERS, files = SYSTEM_FILES } = options;
  return openSoleStore(new StateFiles(options, files), options.clock, timers);
}

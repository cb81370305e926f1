import { openSoleStore, type SoleStoreOptions } from '../sole-repository.js';
import type { StateRepository } from '../state-repository.js';
import { StateFiles } from './state-files.js';

/** Opens the store whose state.json is at `options.path`; see openSoleStore. */
export function openFileStateRepository(options: SoleStoreOptions): Promise<StateRepository> {
  return openSoleStore(new StateFiles(options), options);
}

import { type FileSystem, SYSTEM_FILES } from '../../platform/durable-file.js';
import { SYSTEM_TIMERS, type Timers } from '../../platform/timers.js';
import { openSoleStore } from '../sole-repository.js';
import type { StateRepository } from '../state-repository.js';
import type { Connection } from './requests.js';
import { SqliteStore, type SqliteStoreOptions } from './sqlite-store.js';
import { ThreadConnection } from './thread-connection.js';

/** Opens the store whose state.db is at `options.path`; see openSoleStore. */
export function openSqliteStateRepository(
  options: SqliteStoreOptions & {
    readonly timers?: Timers;
    readonly files?: FileSystem;
    readonly connection?: Connection;
  },
): Promise<StateRepository> {
  const {
    timers = SYSTEM_TIMERS,
    files = SYSTEM_FILES,
    connection = new ThreadConnection(),
  } = options;
  const store = new SqliteStore(options, files, connection);
  return openSoleStore(store, options.clock, timers);
}

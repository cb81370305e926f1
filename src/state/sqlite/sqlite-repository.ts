import { openSoleStore, type SoleStoreOptions } from '../sole-repository.js';
import type { StateRepository } from '../state-repository.js';
import type { Connection, Request } from './requests.js';
import { SqliteStore } from './sqlite-store.js';
import { ThreadConnection } from './thread-connection.js';

/** Opens the store whose state.db is at `options.path`; see openSoleStore. */
export function openSqliteStateRepository(
  options: SoleStoreOptions & { readonly connection?: Connection },
): Promise<StateRepository> {
  const { connection = databaseThread() } = options;
  return openSoleStore(new SqliteStore(options, connection), options);
}

/** It loads the driver while the caller takes the lock and reads. */
function databaseThread(): Connection {
  const file = new URL('./database-thread.js', import.meta.url);
  return new ThreadConnection<Request>(file, { name: 'state' }).begin();
}

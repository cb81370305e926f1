import { openSoleStore, type SoleStoreOptions } from '../sole-repository.js';
import type { StateRepository } from '../state-repository.js';
import type { Connection } from './requests.js';
import { SqliteStore } from './sqlite-store.js';
import { ThreadConnection } from './thread-connection.js';

/** Opens the store whose state.db is at `options.path`; see openSoleStore. */
export function openSqliteStateRepository(
  options: SoleStoreOptions & { readonly connection?: Connection },
): Promise<StateRepository> {
  const { connection = new ThreadConnection() } = options;
  return openSoleStore(new SqliteStore(options, connection), options);
}

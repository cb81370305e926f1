import type { StoreConfig } from './config/config.js';
import type { SoleStoreOptions } from './state/sole-repository.js';
import type { StateRepository } from './state/state-repository.js';

type RepositoryOptions = Pick<SoleStoreOptions, 'instance' | 'loss' | 'clock' | 'onSetAside'>;

/**
 * Opens the store with the adapter of its kind. Each is loaded only when it is asked for, so that a start
 * pays for no driver but its own.
 *
 * @throws TidegateError as the adapter says: STATE_LOCKED, STATE_NEWER, STATE_CORRUPT.
 */
export async function openRepository(
  store: StoreConfig,
  options: RepositoryOptions,
): Promise<StateRepository> {
  switch (store.kind) {
    case 'file': {
      const { openFileStateRepository } = await import('./state/file/file-repository.js');
      return openFileStateRepository({ ...options, path: store.path });
    }
    case 'sqlite': {
      const { openSqliteStateRepository } = await import('./state/sqlite/sqlite-repository.js');
      return openSqliteStateRepository({ ...options, path: store.path });
    }
    case 'postgres': {
      const { openPostgresStateRepository } =
        await import('./state/postgres/postgres-repository.js');
      return openPostgresStateRepository({ ...options, url: store.url });
    }
  }
}

import type { StoreConfig } from './config/config.js';
import type { FoundState } from './state/held-state.js';

/**
 * What a store says, without locking or changing it, also while instances use it. Null: there is none.
 *
 * @throws TidegateError STATE_NEWER, STATE_UNAVAILABLE.
 */
export async function inspectStore(store: StoreConfig): Promise<FoundState | null> {
  switch (store.kind) {
    case 'file': {
      const { inspectFiles } = await import('./state/file/inspect.js');
      return inspectFiles(store.path);
    }
    case 'sqlite': {
      const { inspectDatabase } = await import('./state/sqlite/inspect.js');
      return inspectDatabase(store.path);
    }
    case 'postgres': {
      const { inspectTables } = await import('./state/postgres/inspect.js');
      return inspectTables(store.url);
    }
  }
}

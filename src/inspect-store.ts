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

/**
 * Whether both are one store, by whatever names.
 *
 * @throws TidegateError STATE_UNAVAILABLE.
 */
export async function isSameStore(one: StoreConfig, other: StoreConfig): Promise<boolean> {
  if (one.kind === 'postgres' && other.kind === 'postgres') {
    if (one.url === other.url) return true;
    const { isSameTables } = await import('./state/postgres/same-tables.js');
    return isSameTables(one.url, other.url);
  }
  if (one.kind === 'postgres' || other.kind === 'postgres' || one.kind !== other.kind) return false;
  const { isSamePlace } = await import('./state/same-place.js');
  return isSamePlace(one.path, other.path);
}

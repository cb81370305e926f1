import { PostgresStore } from '../support/postgres-store.js';
import type { StoreHarness } from './state-repository.contract.js';

interface Pooler {
  /** The same URL, by way of the pooler. */
  through(url: string): string;
  close(): Promise<void>;
}

/** Stores on a Postgres whose sessions a pooler deals out; the pooler is started with the first of them. */
export function behindPooler(start: (store: PostgresStore) => Promise<Pooler>): StoreHarness {
  let starting: Promise<[PostgresStore, Pooler]> | null = null;
  const make = async (): Promise<[PostgresStore, Pooler]> => {
    const store = await PostgresStore.create();
    return [store, await start(store)];
  };
  const open = async () => {
    const [store, pooler] = await (starting ??= make());
    return store.open({ url: pooler.through(store.url) });
  };
  return {
    open,
    crash: open,
    dispose: async () => {
      const [store, pooler] = (await starting) ?? [];
      await store?.dispose();
      await pooler?.close();
    },
  };
}

import { PostgresStore } from './postgres-store.js';
import { SqliteStore } from './sqlite-store.js';
import { FileStore } from './file-store.js';
import type { StoreOnDisk } from './store-on-disk.js';

/** State of a test's own, for a process to use. */
export interface OwnState {
  /** As TIDEGATE_STATE takes it. */
  readonly address: string;
  /** Throws it away, as if it had never been. */
  forget(): Promise<void>;
  dispose(): Promise<void>;
}

/** A store that all tests with real processes run on. */
export interface StoreUnderTest {
  readonly kind: string;
  /** Where in a write of its own a process can be killed (kill-at.mjs). */
  readonly writePoints: readonly string[];
  make(): Promise<OwnState>;
}

export const STORES: readonly StoreUnderTest[] = [
  {
    kind: 'file',
    writePoints: [
      'before the rename',
      'after the rename',
      'with a charge before the rename',
      'with a charge after the rename',
    ],
    make: async () => stateOn(new FileStore(), 'file'),
  },
  {
    kind: 'sqlite',
    writePoints: ['before the commit', 'in the commit', 'after the commit'],
    make: async () => stateOn(new SqliteStore(), 'sqlite'),
  },
  {
    kind: 'postgres',
    writePoints: ['before the commit', 'in the commit', 'after the commit'],
    make: async () => {
      const store = await PostgresStore.create();
      return {
        address: store.url,
        forget: () => store.empty(),
        dispose: () => store.dispose(),
      };
    },
  },
];

function stateOn(store: StoreOnDisk, scheme: string): OwnState {
  return {
    address: `${scheme}:${store.path}`,
    forget: () => store.dispose(),
    dispose: () => store.dispose(),
  };
}

import { describe, it } from 'vitest';
import type { StoreOnDisk } from '../support/store-on-disk.js';
import { CONTRACT, type StoreHarness } from './state-repository.contract.js';

/** Runs every case of the contract on an adapter, each on a store of its own. */
export function runContract(adapter: string, makeHarness: () => StoreHarness): void {
  describe(`the contract of StateRepository, kept by ${adapter}`, () => {
    for (const { name, run } of CONTRACT) {
      it(name, async () => {
        const harness = makeHarness();
        try {
          await run(harness);
        } finally {
          await harness.dispose();
        }
      });
    }
  });
}

/** The same for a store with files, which a crash leaves as they are at that moment. */
export function runContractOnDisk(adapter: string, makeStore: () => StoreOnDisk): void {
  runContract(adapter, () => {
    const store = makeStore();
    const crashed: StoreOnDisk[] = [];
    return {
      open: () => store.open(),
      crash: () => {
        const copy = store.copy();
        crashed.push(copy);
        return copy.open();
      },
      dispose: async () => {
        for (const each of [store, ...crashed]) await each.dispose();
      },
    };
  });
}

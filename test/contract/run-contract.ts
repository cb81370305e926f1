import { describe, it } from 'vitest';
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

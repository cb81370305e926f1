import { describe, expect, it } from 'vitest';
import { SteadyClock } from '../../src/platform/clock.js';
import { MemoryDisk } from '../../src/state/memory/memory-repository.js';
import type { StateRepository } from '../../src/state/state-repository.js';
import { copyOf, forgetfulRepository, HastyRepository } from '../support/broken-repositories.js';
import { CONTRACT, type ContractCase } from './state-repository.contract.js';

type Open = (clock: SteadyClock, disk: MemoryDisk) => StateRepository;

/** The contract must notice a store that only seems to save, in every case that is about saving. */
describe.each<[string, Open, readonly ContractCase['needs'][]]>([
  [
    'a store that skips the save',
    (clock, disk) => forgetfulRepository(clock, disk),
    ['a save', 'a save before the answer'],
  ],
  [
    'a store that answers before it saves',
    (clock, disk) => new HastyRepository(clock, disk),
    ['a save before the answer'],
  ],
])('%s', (_, open, fails) => {
  for (const { name, needs, run } of CONTRACT) {
    const wanted = fails.includes(needs) ? 'fails' : 'passes';
    it(`${wanted}: ${name}`, async () => {
      const disk = new MemoryDisk();
      const clock = new SteadyClock();
      const harness = {
        open: async () => open(clock, disk),
        crash: async () => open(clock, copyOf(disk)),
        dispose: async () => undefined,
      };
      if (wanted === 'fails') await expect(run(harness)).rejects.toThrow(/expected/);
      else await run(harness);
    });
  }
});

import { SteadyClock } from '../../src/platform/clock.js';
import { MemoryDisk, MemoryStateRepository } from '../../src/state/memory/memory-repository.js';
import { copyOf } from '../support/broken-repositories.js';
import { runContract } from './run-contract.js';

runContract('memory', () => {
  const disk = new MemoryDisk();
  const clock = new SteadyClock();
  return {
    open: async () => new MemoryStateRepository(clock, disk),
    crash: async () => new MemoryStateRepository(clock, copyOf(disk)),
    dispose: async () => undefined,
  };
});

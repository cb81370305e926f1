import type { Clock } from '../../src/platform/clock.js';
import { MemoryDisk, MemoryStateRepository } from '../../src/state/memory/memory-repository.js';

/** A disk with the same content, from then on apart. */
export function copyOf(disk: MemoryDisk): MemoryDisk {
  const copy = new MemoryDisk(disk.id);
  copy.revision = disk.revision;
  for (const [scope, state] of disk.scopes) copy.scopes.set(scope, state);
  return copy;
}

/** Does everything as it should, except that it saves nothing. */
export function forgetfulRepository(clock: Clock, disk: MemoryDisk): MemoryStateRepository {
  return new MemoryStateRepository(clock, copyOf(disk));
}

/** Saves, but only some time after it has answered. Closed properly, it loses nothing. */
export class HastyRepository extends MemoryStateRepository {
  readonly #disk: MemoryDisk;
  readonly #cache: MemoryDisk;

  constructor(clock: Clock, disk: MemoryDisk) {
    const cache = copyOf(disk);
    super(clock, cache);
    this.#disk = disk;
    this.#cache = cache;
  }

  override async close(): Promise<void> {
    await super.close();
    this.#disk.revision = this.#cache.revision;
    for (const [scope, state] of this.#cache.scopes) this.#disk.scopes.set(scope, state);
  }
}

import type { Clock } from '../../platform/clock.js';
import { randomHex } from '../../platform/random.js';
import { EMPTY_SCOPE, type ScopeState } from '../scope-state.js';
import type { Decide, Snapshot, StateRepository, StoreHealth } from '../state-repository.js';
import { type Fold, UpdateQueue } from '../update-queue.js';

/**
 * What a MemoryStateRepository writes to; it outlives the repository as a disk outlives a process.
 */
export class MemoryDisk {
  revision = 0;
  readonly scopes = new Map<string, ScopeState>();

  constructor(readonly id = randomHex(8)) {}
}

/** Keeps state for as long as its disk is kept: for tests and the simulator. */
export class MemoryStateRepository implements StateRepository {
  readonly kind = 'memory';
  readonly #clock: Clock;
  readonly #disk: MemoryDisk;
  readonly #queue = new UpdateQueue(
    (fold) => this.#commit(fold),
    async () => {},
  );

  constructor(
    clock: Clock,
    disk = new MemoryDisk(),
    readonly shared = false,
  ) {
    this.#clock = clock;
    this.#disk = disk;
  }

  update<Outcome>(scope: string, decide: Decide<Outcome>): Promise<Outcome> {
    return this.#queue.update(scope, decide);
  }

  async read(scope: string): Promise<Snapshot> {
    this.#queue.assertOpen();
    return { state: this.#load(scope), now: this.#clock.now() };
  }

  async list(): Promise<readonly string[]> {
    this.#queue.assertOpen();
    return [...this.#disk.scopes.keys()].sort();
  }

  health(): StoreHealth {
    const { id, revision } = this.#disk;
    return { healthy: true, problem: null, id, revision };
  }

  close(): Promise<void> {
    return this.#queue.close();
  }

  #load(scope: string): ScopeState {
    return this.#disk.scopes.get(scope) ?? EMPTY_SCOPE;
  }

  async #commit(fold: Fold): Promise<void> {
    const changed = fold.decide((scope) => this.#load(scope), this.#clock.now());
    if (changed.size === 0) return;
    for (const [scope, state] of changed) this.#disk.scopes.set(scope, state);
    this.#disk.revision += 1;
  }
}

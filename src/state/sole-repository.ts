import type { Clock, SteadyClock } from '../platform/clock.js';
import type { FileSystem } from '../platform/durable-file.js';
import { TidegateError } from '../platform/tidegate-error.js';
import { type Cancel, SYSTEM_TIMERS, type Timers } from '../platform/timers.js';
import type { HeldState } from './held-state.js';
import type { Instant, ScopeState } from './scope-state.js';
import type { SetAside } from './set-aside.js';
import type {
  Decide,
  LossPolicy,
  Snapshot,
  StateRepository,
  StoreHealth,
  StoreKind,
} from './state-repository.js';
import { type Fold, UpdateQueue } from './update-queue.js';
import { problemOf, writeFault } from './write-fault.js';

/** How often a store that can't be written is tried again. */
const RETRY_EVERY_MS = 1_000;

/** A write that takes longer is a problem, although nothing has failed. */
const SLOW_MS = 5_000;

/** What ends a start. When a store heals later they are problems like any other. */
const FINAL = new Set(['STATE_LOCKED', 'STATE_NEWER', 'STATE_CORRUPT']);

export interface SoleStoreOptions {
  /** Of its main file, absolute; the others stand beside it. The directory is made if need be. */
  readonly path: string;
  /** Name under which a second instance is refused. */
  readonly instance: string;
  readonly loss: LossPolicy;
  /** Is made to go on from the newest instant on record. */
  readonly clock: SteadyClock;
  /** Told of each file that could not be believed. */
  readonly onSetAside?: (file: SetAside) => void;
  readonly timers?: Timers;
  readonly files?: FileSystem;
}

/**
 * A store that one instance has to itself, with all of its state in memory: what is durable in it.
 *
 * `start` takes the lock, reads, restores, and writes the result; only then may `commit` be called.
 * After a failure of any kind `start` must succeed again before the next commit.
 * One call at a time; the caller sees to that.
 */
export interface SoleStore {
  readonly kind: StoreKind;
  /** For people. */
  readonly path: string;
  /** What is durable in it. */
  readonly held: HeldState;
  /** It was read under the lock and written: from then on memory is what counts. */
  readonly started: boolean;
  /** @throws TidegateError STATE_LOCKED, STATE_NEWER, STATE_CORRUPT, or whatever the disk says. */
  start(): Promise<void>;
  /** After a failed start: what can be read without the lock is better than nothing to show. */
  peek(): Promise<void>;
  /** Resolves when the change is durable. */
  commit(changed: ReadonlyMap<string, ScopeState>): Promise<void>;
  /** When `upkeep` is due, in ms; 0 or less: now; null: there is nothing to do. */
  readonly upkeepDueIn: number | null;
  /** Resolves when commits may go on; the rest of it may go on beside them. */
  upkeep(): Promise<void>;
  /** What is not as it should be although commits are durable, in one sentence. */
  readonly concern: string | null;
  /** Before a clean end. What can't be written then, the next start must be able to restore. */
  tidy(): Promise<void>;
  /** Ends the use of the store, whatever state it is in. */
  release(): Promise<void>;
}

/**
 * Opens the store. If it can't be written it is opened all the same, unhealthy, and heals by itself.
 *
 * @throws TidegateError STATE_LOCKED naming the instance that uses it, STATE_NEWER, and
 *   STATE_CORRUPT under the policy `refuse`; the store is then as it was.
 */
export async function openSoleStore(
  store: SoleStore,
  { clock, timers = SYSTEM_TIMERS }: Pick<SoleStoreOptions, 'clock' | 'timers'>,
): Promise<StateRepository> {
  const repository = new SoleStateRepository(store, clock, timers);
  await repository.open();
  return repository;
}

/**
 * healthy ── a write fails ──► unhealthy ── once a second, a start succeeds ──► healthy
 *
 * Unhealthy, updates that change something are refused without touching the disk.
 */
class SoleStateRepository implements StateRepository {
  readonly kind: StoreKind;
  readonly shared = false;
  readonly #clock: Clock;
  readonly #store: SoleStore;
  readonly #timers: Timers;
  readonly #queue = new UpdateQueue((fold) => this.#commit(fold));
  #problem: string | null = null;
  #writingSince: Instant | null = null;
  #cancelUpkeep: Cancel | null = null;
  #upkeepWaits = false;
  #closing: Promise<void> | null = null;

  constructor(store: SoleStore, clock: Clock, timers: Timers) {
    this.kind = store.kind;
    this.#clock = clock;
    this.#store = store;
    this.#timers = timers;
  }

  async open(): Promise<void> {
    try {
      await this.#store.start();
    } catch (error) {
      try {
        throwIfFinal(error);
        await this.#store.peek().catch(throwIfFinal);
      } catch (final) {
        await this.#store.release();
        throw final;
      }
      this.#fail(error);
    }
  }

  update<Outcome>(scope: string, decide: Decide<Outcome>): Promise<Outcome> {
    return this.#queue.update(scope, decide);
  }

  async read(scope: string): Promise<Snapshot> {
    this.#queue.assertOpen();
    return { state: this.#store.held.stateOf(scope), now: this.#clock.now() };
  }

  async list(): Promise<readonly string[]> {
    this.#queue.assertOpen();
    return this.#store.held.names;
  }

  health(): StoreHealth {
    const { held, started, concern } = this.#store;
    const { revision } = held;
    const fault = this.#problem ?? this.#slowness();
    const id = started ? held.id : '';
    return { healthy: fault === null, problem: fault ?? concern, id, revision };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#queue.close();
    this.#cancelUpkeep?.();
    await this.#store.tidy().catch(() => undefined);
    await this.#store.release();
  }

  async #commit(fold: Fold): Promise<void> {
    const { held } = this.#store;
    held.followClock();
    const now = this.#clock.now();
    const changed = fold.decide((scope) => held.stateOf(scope), now);
    if (changed.size === 0) return;
    if (this.#problem !== null) throw new TidegateError('STATE_UNAVAILABLE', this.#problem);
    this.#writingSince = now;
    try {
      await this.#store.commit(changed);
    } catch (error) {
      throw this.#fail(error);
    } finally {
      this.#writingSince = null;
    }
    this.#planUpkeep();
  }

  #planUpkeep(): void {
    const dueInMs = this.#store.upkeepDueIn;
    if (dueInMs !== null) this.#upkeepIn(dueInMs);
  }

  #slowness(): string | null {
    if (this.#writingSince === null) return null;
    const ms = this.#clock.now() - this.#writingSince;
    if (ms < SLOW_MS) return null;
    return `a write to ${this.#store.path} has not ended for ${ms} ms: look at its disk`;
  }

  #upkeepIn(delayMs: number): void {
    if (this.#closing !== null) return;
    if (delayMs <= 0) return this.#upkeepNow();
    this.#cancelUpkeep ??= this.#timers.after(delayMs, () => {
      this.#cancelUpkeep = null;
      this.#upkeepNow();
    });
  }

  #upkeepNow(): void {
    if (this.#upkeepWaits) return;
    this.#upkeepWaits = true;
    this.#queue.between(() => this.#upkeep());
  }

  async #upkeep(): Promise<void> {
    this.#upkeepWaits = false;
    try {
      if (this.#problem !== null) {
        await this.#store.start();
        this.#problem = null;
      } else if ((this.#store.upkeepDueIn ?? 1) <= 0) {
        await this.#store.upkeep();
      }
      this.#planUpkeep();
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): TidegateError {
    const fault = writeFault(this.#store.path, error);
    this.#problem = problemOf(fault);
    // Other upkeep may be further away.
    this.#cancelUpkeep?.();
    this.#cancelUpkeep = null;
    this.#upkeepIn(RETRY_EVERY_MS);
    return fault;
  }
}

function throwIfFinal(error: unknown): void {
  if (error instanceof TidegateError && FINAL.has(error.code)) throw error;
}

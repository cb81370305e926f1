import type { Instant, ScopeState } from './scope-state.js';

/**
 * The port to durable state. One contract suite (test/contract) runs the same cases on every adapter.
 *
 * What a caller may rely on:
 * - `update` is serial within a scope; scopes are independent of one another.
 * - `decide` runs at least once for each attempt, on the latest state, and sees the result of updates folded
 *   into the same write before it, durable or not. Only its last outcome counts, and what it sets outside must come out
 *   the same however often it runs. Its promise resolves after that result is durable.
 * - A write that failed for certain rejects everything folded into it with `STATE_UNAVAILABLE`:
 *   nothing of it will ever be seen. One whose outcome can't be known (failed fsync, connection lost
 *   in COMMIT) rejects with `STATE_UNKNOWN`: repeat only what is safe to repeat, so charges, never
 *   refunds or climbs. Either way the next update works on what is durable.
 * - If `decide` throws, its update rejects with that error and changes nothing; its neighbours are unharmed.
 *   So does one that returns a state which could not be read again (NaN, a list beyond its bound).
 * - Unchanged state (the same reference) writes nothing.
 * - Calls waiting at once are bounded; beyond the bound an update rejects with `STATE_UNAVAILABLE`.
 * - After `close` every call rejects with `STATE_CLOSED`; updates accepted before it are made durable first, where
 *   the store is one that answers: a database that does not is given up after a moment.
 */
export interface StateRepository {
  readonly kind: StoreKind;
  /** Whether several instances may use it at once. */
  readonly shared: boolean;
  update<Outcome>(scope: string, decide: Decide<Outcome>): Promise<Outcome>;
  /** The latest durable state; of a scope never written, the empty state. */
  read(scope: string): Promise<Snapshot>;
  /** Names of the scopes written so far, sorted. */
  list(): Promise<readonly string[]>;
  /** Costs nothing and never throws. */
  health(): StoreHealth;
  close(): Promise<void>;
}

export type StoreKind = 'memory' | 'file' | 'sqlite' | 'postgres';

/**
 * Synchronous and pure. `now` is the store's clock, so replicas agree; it never goes back.
 * Must return the very same `state` when nothing is to change.
 */
export type Decide<Outcome> = (
  state: ScopeState,
  now: Instant,
) => { readonly state: ScopeState; readonly outcome: Outcome };

export interface Snapshot {
  readonly state: ScopeState;
  readonly now: Instant;
}

export interface StoreHealth {
  readonly healthy: boolean;
  /** One sentence for the operator when not healthy, or when healthy but not all as it should be. */
  readonly problem: string | null;
  /** Identity of the store's content; a new one means its memory was lost. Empty until it was read. */
  readonly id: string;
  /** Counts the writes. */
  readonly revision: number;
}

/** How an adapter treats a store that can't be read, or is empty (TIDEGATE_ON_CORRUPT_STATE, TIDEGATE_ON_EMPTY_STATE). */
export interface LossPolicy {
  readonly onCorrupt: 'cautious' | 'refuse';
  readonly onEmpty: 'trust' | 'cautious';
}

/**
 * An instance of a shared store that has nothing to do is heard of this often; with the longest period of the job, at
 * least every other hour.
 */
export const SIGN_OF_LIFE_MS = 3_600_000;

/** For whoever only looks. */
export const TRUSTING: LossPolicy = { onCorrupt: 'cautious', onEmpty: 'trust' };

/** Injection token of the StateRepository in use. */
export const STATE_REPOSITORY = Symbol('StateRepository');

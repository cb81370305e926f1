/** What is on record of the processes that use the store; see `scope-state.ts`. */

/** Epoch milliseconds. */
type Instant = number;

export interface InstanceState {
  readonly startedAt: Instant;
  readonly seenAt: Instant;
  /** Set by a clean stop; null while it runs, and after a crash. */
  readonly stoppedAt: Instant | null;
  /** Requests admitted and not yet settled. */
  readonly inFlight: number;
  /** Those among them whose input is not known yet: their charge is an estimate. */
  readonly guessed: number;
  /** What those may cost beyond their estimates, should their prompt caches have gone cold. */
  readonly coldTokens: number;
  /** Of the requests that it refused for want of room, the one that has room next; only where instances share a store. */
  readonly turn: TurnState | null;
}

export interface TurnState {
  /** Who waits for longer comes first. */
  readonly since: Instant;
  /** The turn is lost if the request is not back by then. */
  readonly until: Instant;
  /** What the request will be charged, by limit, in its unit. */
  readonly amounts: Readonly<Record<string, number>>;
}

export interface InstanceStart {
  readonly at: Instant;
  /** The run before it did not stop cleanly. */
  readonly unclean: boolean;
}

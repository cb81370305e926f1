/** What the backoff policy's part of the document that must survive consists of; see `scope-state.ts`. */

/** Epoch milliseconds. */
type Instant = number;

export type CooldownKind = 'quota' | 'rate' | 'acceleration' | 'terminal' | 'transient' | 'unknown';

/** One ladder of cooldowns: the scope's, or a model pool's. */
export interface EpisodeState {
  /** Number of the latest episode, 0 before the first. It is under way while `cooldown` is set. */
  readonly episode: number;
  readonly cooldown: Cooldown | null;
  /** Probes out now, oldest first. */
  readonly probes: readonly Probe[];
}

export interface BackoffState extends EpisodeState {
  /** Latest transient refusal that set no cooldown. */
  readonly transientAt: Instant | null;
  readonly overload: OverloadPause;
}

export interface Cooldown {
  readonly since: Instant;
  readonly until: Instant;
  readonly kind: CooldownKind;
  /** Place on the ladder, from 1. */
  readonly rung: number;
  /** The limit that the refusal named, if it named one that is configured. */
  readonly limit: string | null;
  /** The limit that it was attributed to, named or not, if any. */
  readonly blamed: string | null;
  /** Latest routine probe of a cooldown longer than an hour. */
  readonly probedAt: Instant | null;
}

export interface Probe {
  /** Number of the admission that carries it. */
  readonly sequence: number;
  readonly instance: string;
  readonly takenAt: Instant;
  /** Forgotten from here on, answered or not. */
  readonly expiresAt: Instant;
}

export interface OverloadPause {
  /** Counts the pauses so far; verdicts on admissions made under an earlier number change nothing. */
  readonly number: number;
  /** 0: the upstream is not known to be overloaded. */
  readonly rung: number;
  readonly since: Instant;
  readonly until: Instant;
  /** The latest sign of it came in the midst of an answer: that one begins is no sign that it is over. */
  readonly inAnswer: boolean;
}

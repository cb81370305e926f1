import type { LimitStatement } from '../governor/attribution.js';

/** One request as an agent sends it; what it costs is known to the upstream only. */
export interface Request extends Offer, Usage {
  readonly durationMs: number;
}

/** What a strategy is told of it before the call. */
export interface Offer {
  readonly session: string;
  readonly model: string;
  readonly bodyBytes: number;
}

export type Answer<Pass> =
  | { readonly kind: 'admitted'; readonly pass: Pass }
  /** `waitMs`: what the local refusal's `retry-after` says. */
  | { readonly kind: 'refused'; readonly waitMs: number };

export interface UpstreamRefusalFacts {
  readonly transient: boolean;
  readonly waitMs: number | null;
  readonly statements: readonly LimitStatement[];
}

export interface Usage {
  readonly inputTokens: number;
  readonly cachedTokens: number;
  readonly outputTokens: number;
}

/**
 * One process of a strategy, between agents and the upstream. `Pass` is what it keeps of an admission. What may be
 * missing is nothing to it.
 */
export interface Process<Pass> {
  admit(offer: Offer): Answer<Pass> | Promise<Answer<Pass>>;
  /** The upstream answered 2xx, and told the input. */
  succeeded?(pass: Pass, inputTokens: number, statements: readonly LimitStatement[]): void;
  refused(pass: Pass, facts: UpstreamRefusalFacts): void | Promise<void>;
  overloaded?(pass: Pass): void | Promise<void>;
  /** The answer is complete. */
  finished(pass: Pass, usage: Usage): void;
  /** Once a minute, or as set. */
  tick(): void | Promise<void>;
  /** What runs has ended; resolves when the process has, too. */
  stop?(): void | Promise<void>;
  /** SIGKILL: nothing of it happens any more. */
  kill?(): void;
}

/** Something that decides which requests pass, and what of it outlives its processes. */
export interface Strategy<Pass = unknown> {
  start(replica: number): Process<Pass> | Promise<Process<Pass>>;
  /** The budget in force; null for none. */
  budget(): number | null;
  /** Charged by processes that died; missing where it keeps no such account. */
  orphanedTokens?(): number;
}

import type { BackoffSettings } from '../backoff/settings.js';
import type { ControllerSettings, WindowKind } from '../budget/settings.js';
import type { Request } from './strategy.js';

/** A described upstream, and what is asked of it. Instants are ms since the start of the run. */
export interface World {
  readonly seed: number;
  /** How many of the upstream's windows are watched. */
  readonly windows: number;
  readonly upstream: UpstreamWorld;
  readonly governor: GovernorWorld;
  readonly demand: DemandWorld;
  readonly restarts: readonly Restarts[];
  readonly clock: readonly ClockStep[];
  /** Instances of Tidegate on one store, each of which takes its share of the demand. */
  readonly replicas: number;
}

export interface UpstreamWorld {
  readonly kind: WindowKind;
  readonly windowMs: number;
  /** Tokens a window. */
  readonly limit: number;
  /** Whether a refusal states how long to wait. */
  readonly retryAfter: boolean;
  /** Which limit headers its answers carry. */
  readonly headers: HeaderKind;
  readonly changes: readonly { readonly atMs: number; readonly limit: number }[];
  /** Share of the limit that others use on average. */
  readonly othersUse: number;
  /** Share of requests refused for no reason of ours. */
  readonly transient429: number;
  /** Share of requests answered with 529. */
  readonly overload: number;
}

export type HeaderKind = 'none' | 'anthropic' | 'unified' | 'openai';

export interface GovernorWorld extends ControllerSettings, BackoffSettings {
  readonly budget: number | null;
  readonly windowMs: number;
  readonly windowKind: WindowKind;
  readonly tickMs: number;
}

export interface DemandWorld {
  /** What is asked for, as a multiple of the upstream's limit at the time. */
  readonly load: number;
  readonly changes: readonly { readonly atMs: number; readonly load: number }[];
  /** Cost of a request. */
  readonly tokens: { readonly median: number; readonly p90: number; readonly p99: number };
  /** How long an answer takes. */
  readonly seconds: { readonly median: number; readonly p95: number };
  /** Agents at once. One that waits asks for nothing else. */
  readonly sessions: number;
  /** How often an agent sends a request again before it gives it up; null: it never does. */
  readonly retries: number | null;
  /** Recorded sessions that take the place of the two distributions. */
  readonly trace: readonly (readonly TracedRequest[])[] | null;
}

export interface TracedRequest extends Omit<Request, 'session' | 'bodyBytes'> {
  /** Since the session's start. */
  readonly atMs: number;
}

export interface Restarts {
  readonly atMs: number;
  readonly everyMs: number;
  readonly count: number;
  readonly kind: 'kill' | 'stop';
}

export interface ClockStep {
  readonly atMs: number;
  readonly stepMs: number;
}

/** The largest request, as a share of the limit: costs beyond it are cut off. */
const LARGEST_SHARE = 0.1;
const LARGEST_TOKENS = 200_000;

/** No request of the described distribution costs more. */
export function largestCost(limit: number): number {
  return Math.max(2, Math.min(LARGEST_TOKENS, LARGEST_SHARE * limit));
}

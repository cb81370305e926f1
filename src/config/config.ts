import type { BackoffSettings } from '../backoff/settings.js';
import type { ControllerSettings, LimitRules } from '../budget/settings.js';
import type { DialectName } from '../dialects/dialect.js';
import type { LossPolicy } from '../state/state-repository.js';

/** Everything Tidegate was told, checked and frozen. Read once, at the start. */
export interface Config {
  /** Name under which this instance's starts and unsettled charges are kept across restarts. */
  readonly instance: string;
  /** At least one; each has a listener of its own, for every path on it belongs to its upstream. */
  readonly upstreams: readonly UpstreamConfig[];
  readonly admin: AdminConfig;
  readonly state: StoreConfig;
  readonly loss: LossPolicy;
  /** `observe`: decide, count and log, but let pass. */
  readonly mode: 'enforce' | 'observe';
  readonly backoff: BackoffSettings;
  readonly controller: ControllerSettings;
  /** Longest `retry-after` a local refusal states, in ms, >= 1000. */
  readonly maxRetryAfterMs: number;
  /** Period of the scheduled job. */
  readonly tickMs: number;
  /** Absolute path of the access log; null: none is kept. */
  readonly accessLog: string | null;
  /** How long streams may go on after SIGTERM. */
  readonly drainMs: number;
}

export interface UpstreamConfig {
  readonly name: string;
  /** Origin and base path, no trailing slash, no query: `https://api.anthropic.com`. */
  readonly url: URL;
  readonly dialect: DialectName;
  /** For `openai`: whether a stream that would state no usage is asked to. */
  readonly streamUsage: 'ask' | 'leave';
  /** For `openai`: whether the limits count prompt tokens that came from the cache. */
  readonly cachedInput: 'counted' | 'free';
  /** For `generic`: patterns of paths; none: every path. */
  readonly meteredPaths: readonly string[];
  /** For `generic`: where an answer states its tokens; null: not read. */
  readonly inputTokensAt: string | null;
  readonly outputTokensAt: string | null;
  readonly listen: ListenAddress;
  /** Connections to it go through this one, by its URL with user and password; null: there is none. */
  readonly proxy: URL | null;
  /** Longest wait for the upstream's response headers, in ms. */
  readonly timeoutMs: number;
  /** Key of the credential fingerprints in `scopes`; null where none is configured. */
  readonly fingerprintKey: string | null;
  /** The default scope, which takes what fits no other. */
  readonly defaultScope: ScopeConfig;
  /** Tried in order; at most 63. */
  readonly scopes: readonly MatchedScopeConfig[];
}

export interface ScopeConfig {
  /** Stable name: the scope's memory is kept under it. */
  readonly name: string;
  /** In the order of `/status`; at least one. */
  readonly limits: readonly LimitRules[];
}

export interface MatchedScopeConfig extends ScopeConfig {
  readonly match: ScopeMatch;
}

export type ScopeMatch =
  | { readonly by: 'header'; readonly header: string; readonly value: string }
  | { readonly by: 'key'; readonly fingerprint: string }
  /** As the upstream names it in its answers. */
  | { readonly by: 'organization'; readonly id: string };

export interface AdminConfig {
  readonly listen: ListenAddress;
  readonly token: string | null;
}

export interface ListenAddress {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
}

/** Which store, and where; print it with `storeName`, for an address may hold a password. */
export type StoreConfig =
  | {
      readonly kind: 'file' | 'sqlite';
      /** Absolute. */
      readonly path: string;
    }
  | {
      readonly kind: 'postgres';
      /** With all that the driver needs, user and password among it. */
      readonly url: string;
    };

/** Injection token of the Config. */
export const CONFIG = Symbol('Config');

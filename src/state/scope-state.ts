/**
 * The document that must survive: everything one decision about a scope has to weigh together.
 *
 * Rules for whoever changes it:
 * - Instants are epoch milliseconds and are stored; timers never are. A name ending in `At`, `since` or `until` is one.
 * - It holds aggregates, never an entry a request; every list and map has a bound in BOUNDS.
 * - Values are immutable: a change makes a new object and shares what did not change. Adapters write
 *   the `hot` or `cold` part only when its reference changed.
 * - Fields that this version does not know are kept as they are.
 * - A change of meaning raises SCHEMA and adds an upgrade step beside `parseScopeState`.
 */

import type { BackoffState, CooldownKind, EpisodeState, OverloadPause } from './backoff-state.js';
import type { EventRecord, ToldGuard } from './event-record.js';
import type { InstanceStart, InstanceState } from './instance-state.js';

export type * from './backoff-state.js';
export type * from './event-record.js';
export type * from './instance-state.js';

/** Version of the document. A higher `major` in a store stops the start (exit 78). */
export const SCHEMA = { major: 1, minor: 3 } as const;

/** What keeps the document small. `limits` and `scopes` bound the configuration, the others the state. */
export const BOUNDS = {
  scopes: 64,
  limits: 8,
  /** With those that left the configuration. */
  limitsEver: 32,
  instances: 64,
  startsPerInstance: 64,
  samples: 50,
  cells: 60,
  history: 12,
  models: 16,
  probes: 3,
  pools: 12,
  keys: 256,
  events: 32,
} as const;

/** Epoch milliseconds. */
export type Instant = number;

/** An instant moved by `byMs`, back to the beginning of time at most. */
export function shifted(at: Instant, byMs: number): Instant {
  return Math.max(0, at + byMs);
}

/** What a limit counts. */
export type Unit = 'tokens' | 'input_tokens' | 'output_tokens' | 'requests';

export interface ScopeState {
  /** Changes with almost every request; at most about 2 KB. */
  readonly hot: HotState;
  /** Changes a few times a window. */
  readonly cold: ColdState;
}

export interface HotState {
  /** By the limit's configured name. */
  readonly limits: Readonly<Record<string, LimitState>>;
  readonly backoff: BackoffState;
  /**
   * Model pools that the upstream has refused, apart from the scope: `limit:` and the name of a limit with
   * models, or `model:` and the model that was refused for a window which is not configured.
   */
  readonly pools: Readonly<Record<string, PoolState>>;
  /** The sample of the scope's present episode while what was in flight at the refusal has not settled. */
  readonly pendingSample: PendingSample | null;
  readonly cautious: CautiousState | null;
  /** Set by an adapter that lost or restored this scope; the governor's next update turns it into `cautious`. */
  readonly lost: StateLoss | null;
  /** The clock was found to lie far behind the record, and may yet be set right; null: no such thing. */
  readonly setBack: ClockSetBack | null;
  /** By instance name. */
  readonly instances: Readonly<Record<string, InstanceState>>;
  /** Number of the latest admission; orders admissions against refusals. */
  readonly sequence: number;
  readonly firstAdmittedAt: Instant | null;
  readonly counters: Counters;
  /** Admission ramps up; null: nothing holds it back. */
  readonly ramp: RampState | null;
  /** Latest admission. */
  readonly admittedAt: Instant | null;
}

export interface ColdState {
  readonly calibration: CalibrationState;
  /** Learned cost figures by model name. */
  readonly estimates: Readonly<Record<string, ModelEstimate>>;
  /** Starts by instance name, oldest first. */
  readonly starts: Readonly<Record<string, readonly InstanceStart[]>>;
  /** The organization that a credential belongs to, by its fingerprint; kept in an upstream's default scope. */
  readonly organizations: Readonly<Record<string, string>>;
  /** The newest that happened, oldest first; all of them are in the event journal. */
  readonly events: readonly EventRecord[];
  /** The guard that was last told to hold a limit's budget back, by the limit's name. */
  readonly guards: Readonly<Record<string, ToldGuard>>;
}

export interface LimitState {
  readonly window: WindowState;
  /** The whole charge of the window in the limit's unit: settled + in flight + orphaned. */
  readonly used: number;
  /** Sliding windows: what `used` consists of, oldest first; empty for the other kinds. */
  readonly cells: readonly WindowCell[];
  /** Token buckets: how the level in `used` drains, and what it was made of; null for the other kinds. */
  readonly bucket: BucketState | null;
  /**
   * The part of `used` that is in flight, by instance. Of a bucket it may be more than `used`, for that
   * drains meanwhile.
   */
  readonly unsettled: Readonly<Record<string, number>>;
  /** The part of `used` whose instance died or fell silent before it settled. */
  readonly orphaned: number;
  /** The part of `used` that others spent of the same limit, as the upstream's statements tell. */
  readonly others: number;
  /** What the upstream states of this limit; null if it does not, or not yet. */
  readonly stated: StatedLimit | null;
  readonly budget: BudgetState;
  readonly control: ControlState;
}

/** A limit in the upstream's own words. */
export interface StatedLimit {
  /** As the upstream names it: `tokens`, `5h`; empty in a state of before. */
  readonly name: string;
  /** In the limit's unit: as stated, or as a stated fraction and our own use tell. Null: not known yet. */
  readonly limit: number | null;
  /** Number of our window in which it was stated last. */
  readonly window: number;
  /** Number of the latest admission whose answer changed what is known. */
  readonly sequence: number;
  /** Where the upstream states no amounts. */
  readonly fraction: StatedFraction | null;
}

/** Fractions of a limit that were used, 1 for the whole, and what we had charged of the window by then. */
export interface StatedFraction {
  /** As stated first in this window. */
  readonly from: number;
  /** What we had charged by then at the most, all that was in flight included; */
  readonly fromCharged: number;
  /** and at the least: what the upstream had counted for certain. */
  readonly fromCounted: number;
  /** As stated last, when it was first stated so. */
  readonly used: number;
  readonly usedCharged: number;
  /** What we may charge in all before the whole is used. */
  readonly budget: number | null;
}

/** What a stretch of a sliding window was charged; it begins at `at`. */
export interface WindowCell {
  readonly at: Instant;
  readonly amount: number;
  /** How much of what was orphaned may have been charged here: it frees with the cell. */
  readonly orphaned: number;
}

export interface BucketState {
  /** `used` is the level at this instant. */
  readonly at: Instant;
  /** The part of the next token that had drained by then, in tokens times ms over a window's length. */
  readonly carry: number;
  /** All that was taken out of the level but by draining, since the window opened. */
  readonly lowered: number;
  /** Oldest first, each until the next one: the newest a window's length, older ones joined to longer ones. */
  readonly history: readonly BucketCell[];
}

export interface BucketCell extends Omit<WindowCell, 'orphaned'> {
  /** The lowest level in it. */
  readonly low: number;
  /** It begins with a refusal, so the upstream's bucket was full then. */
  readonly full: boolean;
}

export interface WindowState {
  /** Counts the windows opened so far; an admission remembers the number it was charged to. */
  readonly number: number;
  /** Null while no window is open: it opens with the next admission. */
  readonly startedAt: Instant | null;
  readonly endsAt: Instant | null;
  /** A success was seen in it, so `startedAt` is the upstream's start as well as it can be known. */
  readonly anchored: boolean;
  /** `endsAt` was stated by the upstream, not computed from the length. */
  readonly stated: boolean;
  /** As configured when it opened, or the last one did; null: none has, or that was before this was kept. */
  readonly lengthMs: number | null;
  /** Nothing about this window was lost: its charge may become a sample. */
  readonly observed: boolean;
}

export type BudgetSource = 'configured' | 'learned' | 'headers' | 'none';

export interface BudgetState {
  /** Null: no budget yet (learn mode before the first accepted sample). */
  readonly current: number | null;
  /** The upstream's limit as the newest accepted samples tell it. */
  readonly learned: number | null;
  /** What floor and ceiling are measured from: the configured budget, or what learn mode found. */
  readonly reference: number | null;
  /** What learn mode found, also beside a configured budget, which may be taken back; null: nothing yet. */
  readonly found: number | null;
  readonly source: BudgetSource;
}

/** What the controller's guards remember. */
export interface ControlState {
  readonly nudgedAt: Instant | null;
  /** The budget was in the way since the last nudge: >= 90 % used, or a request was refused for it. */
  readonly inTheWay: boolean;
  /** The smallest request that the budget refused in this window and still would, and since when it has. */
  readonly denied: { readonly at: Instant; readonly amount: number } | null;
  /** Latest routine probe of exhaustion by a learned budget. */
  readonly probedAt: Instant | null;
  /** Latest refusal by the upstream that binds this limit. */
  readonly refusedAt: Instant | null;
  /** Learn mode: windows in a row that ended >= 90 % used without a refusal. */
  readonly fullWindows: number;
  /** Learn mode, of a window that does not end: since when it is found full without a refusal, and when last. */
  readonly full: { readonly since: Instant; readonly until: Instant } | null;
  /** Accepted samples in a row, the newest included, that agree on the learned limit. */
  readonly agreeing: number;
  /** Highest charge of a window with which the upstream still took a request, since the last sample. */
  readonly accepted: number;
}

export interface PoolState extends EpisodeState {
  /** As `pendingSample` is the scope's. */
  readonly sample: PendingSample | null;
}

export interface PendingSample {
  readonly at: Instant;
  readonly episode: number;
  readonly kind: CooldownKind;
  readonly limit: string | null;
  /** Number of that limit's window at the refusal. */
  readonly window: number;
  /** Admissions up to this one were in flight or settled at the refusal. */
  readonly sequence: number;
  /** How many of those are still in flight. */
  readonly outstanding: number;
  /** What they have cost together, without what is orphaned; of a bucket, the limit that follows from it. */
  readonly tokens: number;
  /** Of a bucket: what was charged from here on is part of it, and counts so much. */
  readonly from: Instant | null;
  readonly weight: number;
  readonly orphaned: number;
  /** False for a refusal that says nothing about its kind, until the probe after it is refused too. */
  readonly confirmed: boolean;
  /** Why it will be discarded, as far as that was known at the refusal. */
  readonly reason: string | null;
}

export type LossReason =
  'corrupt' | 'missing' | 'restored' | 'altered' | 'empty' | 'rolled-back' | 'clock';

export interface StateLoss {
  readonly reason: LossReason;
  /** Now, by the store's clock, when the loss was noticed. */
  readonly at: Instant;
  /** For `clock`: what the record has for `at`; ahead of it where the clock went back. Null: nothing has to be moved. */
  readonly recordedAt: Instant | null;
}

/** Every instant of a scope was moved back with the clock. */
export interface ClockSetBack {
  readonly byMs: number;
  /** No instant that was moved lies ahead of this one any more, so nothing is left to be moved forth. */
  readonly until: Instant;
}

export interface CautiousState {
  readonly since: Instant;
  /** A whole window has been seen from here on. */
  readonly until: Instant;
  readonly reason: LossReason;
  /** Without a budget: how many requests may be in flight at once; 0: all of them died, and one may after a while. */
  readonly allowance: number;
}

/** After a cooldown, a start or idle time the upstream gets used to us by and by. */
export interface RampState {
  /** How many requests may be in flight at once, as of `at`. */
  readonly allowance: number;
  /** When it began or was last raised. */
  readonly at: Instant;
}

export interface Counters {
  /** Requests that were let through. */
  readonly admitted: number;
  /** Requests that got a local refusal. */
  readonly refused: number;
  /** Answers and failures of metered requests that reached the upstream. */
  readonly upstreamRequests: number;
  readonly upstream429: number;
  readonly upstreamOverloaded: number;
}

export interface CalibrationState {
  readonly accepted: number;
  readonly discarded: number;
  /** Oldest first. */
  readonly samples: readonly Sample[];
  /** Samples in a row discarded because they lay below the budget's floor. */
  readonly belowFloorInARow: number;
}

export interface Sample {
  readonly at: Instant;
  readonly limit: string | null;
  /** In the limit's unit. */
  readonly tokens: number;
  readonly accepted: boolean;
  /** Why it was discarded; null when accepted. */
  readonly reason: string | null;
  readonly episode: number;
}

/** What requests of one model have cost so far; means are exponentially weighted, in tokens. */
export interface ModelEstimate {
  readonly count: number;
  /** Admission of the latest request that told; the longest unused model makes room for a new one. */
  readonly usedAt: Instant;
  /** Prompt tokens, read from the cache or not, for each byte of the request's body. */
  readonly promptTokensPerByte: number;
  readonly outputTokens: number;
  /** Part of a session's previous prompt that came from the cache this time, 0 to 1. */
  readonly cachedShare: number;
  /** How many requests told that; a session's first one can't. */
  readonly cachedShareCount: number;
  /** The same for requests between five minutes and an hour after the session's previous one. */
  readonly lateCachedShare: number;
  readonly lateCachedShareCount: number;
  /** The same for requests more than an hour after. */
  readonly staleCachedShare: number;
  readonly staleCachedShareCount: number;
  /** Upper estimate (at least P99) of the cost of a request whose session is not known. */
  readonly costP99: number;
  /** Upper estimate (at least P99) of what a request costs beyond its estimate, a cache gone cold in a pause apart. */
  readonly excessP99: number;
}

export const NO_OVERLOAD: OverloadPause = {
  number: 0,
  rung: 0,
  since: 0,
  until: 0,
  inAnswer: false,
};

export const CLOSED_WINDOW: WindowState = {
  number: 0,
  startedAt: null,
  endsAt: null,
  anchored: false,
  stated: false,
  lengthMs: null,
  observed: true,
};

/** The state of a scope nobody has used yet. */
export function emptyScopeState(lost: StateLoss | null = null): ScopeState {
  return {
    hot: {
      limits: {},
      backoff: {
        episode: 0,
        cooldown: null,
        probes: [],
        transientAt: null,
        overload: NO_OVERLOAD,
      },
      pools: {},
      pendingSample: null,
      cautious: null,
      lost,
      setBack: null,
      instances: {},
      sequence: 0,
      firstAdmittedAt: null,
      counters: {
        admitted: 0,
        refused: 0,
        upstreamRequests: 0,
        upstream429: 0,
        upstreamOverloaded: 0,
      },
      ramp: null,
      admittedAt: null,
    },
    cold: {
      calibration: { accepted: 0, discarded: 0, samples: [], belowFloorInARow: 0 },
      estimates: {},
      starts: {},
      organizations: {},
      events: [],
      guards: {},
    },
  };
}

export const EMPTY_SCOPE = emptyScopeState();

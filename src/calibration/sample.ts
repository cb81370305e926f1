import type { CooldownKind, Instant, LimitState, PendingSample } from '../state/scope-state.js';

/** Why a refusal teaches nothing about a limit; kept with the sample, so that the operator can see it. */
export type DiscardReason =
  | 'zero-tokens'
  | 'state-lost'
  | 'orphaned'
  | 'same-episode'
  | 'unattributed'
  | 'other-limit'
  /** It came when its window was over: of the present one it says nothing. */
  | 'other-window'
  | 'below-floor'
  | 'unconfirmed'
  | 'operator-reset'
  /** A per-minute rate, which says nothing about a longer window. */
  | 'rate'
  | 'acceleration';

/** More than this fraction orphaned makes the charge too uncertain to learn from. */
const MOST_ORPHANED = 0.02;
/** A sample that does not close by then has lost a settlement; it is closed as it stands. */
const LONGEST_PENDING_MS = 3_600_000;

export interface RefusalContext {
  readonly episode: number;
  readonly kind: CooldownKind;
  /** The limit to blame, or why none is. */
  readonly limit: string | null;
  readonly reason: 'unattributed' | 'other-limit' | 'other-window' | null;
  /** Number of the latest admission. */
  readonly sequence: number;
  /** Requests in flight, the refused one included. */
  readonly inFlight: number;
  /** What the refusal tells of a bucket; null for the other kinds, of which the charge of the window does. */
  readonly measured: {
    readonly tokens: number;
    /** What was charged from here on is part of it, and counts so much. */
    readonly from: Instant;
    readonly weight: number;
  } | null;
}

/** Opens the episode's sample at its first refusal. `limit` is the state of the one to blame. */
export function openSample(
  context: RefusalContext,
  limit: LimitState | null,
  now: Instant,
): PendingSample {
  return {
    at: now,
    episode: context.episode,
    kind: context.kind,
    limit: context.limit,
    window: limit?.window.number ?? 0,
    sequence: context.sequence,
    outstanding: context.inFlight,
    tokens: context.measured?.tokens ?? (limit === null ? 0 : limit.used - limit.orphaned),
    from: context.measured?.from ?? null,
    weight: context.measured?.weight ?? 1,
    orphaned: limit?.orphaned ?? 0,
    confirmed: context.kind !== 'unknown',
    reason: discardAtOnce(context, limit),
  };
}

function discardAtOnce(context: RefusalContext, limit: LimitState | null): DiscardReason | null {
  if (context.kind === 'rate' || context.kind === 'acceleration') return context.kind;
  if (context.reason !== null) return context.reason;
  if (limit === null) return 'unattributed';
  return limit.window.observed ? null : 'state-lost';
}

/**
 * The probe after a refusal that said nothing of its kind was refused, too. That confirms the sample if, for all we
 * know, it was for the same reason; any other reason may have been the first refusal's.
 */
export function confirmSample(
  sample: PendingSample,
  { kind, limit, reason }: Pick<RefusalContext, 'kind' | 'limit' | 'reason'>,
): PendingSample {
  const other = limit === null ? reason : limit === sample.limit ? null : 'other-limit';
  const unlike = kind === 'rate' || kind === 'acceleration' ? kind : other;
  return { ...sample, confirmed: true, reason: sample.reason ?? unlike };
}

/** One of the requests that were in flight at the refusal has settled, `correction` off its estimate. */
export function settleInSample(sample: PendingSample, correction: number): PendingSample {
  return {
    ...sample,
    outstanding: Math.max(0, sample.outstanding - 1),
    tokens: corrected(sample, correction),
  };
}

/** The sample's tokens once what it was made of has changed. */
export function corrected({ tokens, weight }: PendingSample, correction: number): number {
  return Math.max(0, tokens + Math.round(correction * weight));
}

/** Whether what was charged to `window` at `at` is part of the sample. */
export function isInSample(sample: PendingSample, window: number, at: Instant): boolean {
  return sample.from === null ? window === sample.window : at >= sample.from;
}

/**
 * An instance is gone with `requests` in flight, worth `tokens`. Some may have been admitted after the
 * refusal, as probes: the sample then closes early and too low, or is discarded for what is orphaned.
 */
export function orphanInSample(
  sample: PendingSample,
  requests: number,
  tokens: number,
): PendingSample {
  return {
    ...sample,
    outstanding: Math.max(0, sample.outstanding - requests),
    tokens: corrected(sample, -tokens),
    orphaned: sample.orphaned + tokens,
  };
}

/** Whether everything that was in flight at the refusal has settled, and its kind is certain. */
export function isComplete(sample: PendingSample, now: Instant): boolean {
  if (now - sample.at >= LONGEST_PENDING_MS) return true;
  return sample.outstanding <= 0 && sample.confirmed;
}

/** The verdict on a complete sample; null accepts it. `floor` of the operator's budget, null without one. */
export function judge(sample: PendingSample, floor: number | null): DiscardReason | null {
  if (sample.reason !== null) return sample.reason as DiscardReason;
  if (!sample.confirmed) return 'unconfirmed';
  if (sample.orphaned > MOST_ORPHANED * (sample.tokens + sample.orphaned)) return 'orphaned';
  if (sample.tokens <= 0) return 'zero-tokens';
  if (floor !== null && sample.tokens < floor) return 'below-floor';
  return null;
}

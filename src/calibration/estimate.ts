import type { Instant, ModelEstimate } from '../state/scope-state.js';

/**
 * What a request will cost, from what is known before the call. `max_tokens` is no part of it: the
 * limits count what is generated (wire facts §1.3). The lever is growth: a session sends its whole
 * history again, about 96 % of it is read from the cache and free, and what the limits count is what
 * was added since its last request. docs/internals/performance.md tells how far off it is on real sessions.
 */

export interface EstimateRequest {
  readonly bodyBytes: number;
  /** The session's previous request, as this process remembers it. */
  readonly trail: SessionTrail | null;
}

/** What the last settled request of a session tells about its next one. */
export interface SessionTrail {
  readonly at: Instant;
  readonly bodyBytes: number;
  readonly promptTokens: number;
  /** Part of the prompt before it that came from the cache; null for a session's first request. */
  readonly cachedShare: number | null;
  /** The same, one request earlier: one cold answer does not mean that the next is cold too. */
  readonly earlierCachedShare: number | null;
}

/** Tokens of a settled request, all known. */
export interface ObservedUsage {
  readonly inputTokens: number;
  readonly cachedTokens: number;
  readonly outputTokens: number;
}

export interface Estimate {
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** Input beyond that, should the prompt cache not have outlived a pause that it may or may not outlive. */
  readonly coldTokens: number;
}

/** A prompt cache lives for five minutes or for an hour, as its client chose (wire facts §1.3, §2). */
const SHORT_CACHE_MS = 300_000;
const LONG_CACHE_MS = 3_600_000;
/** Since a session's previous request: none that ends a cache, one that ends a short-lived one, or any. */
type Pause = 'none' | 'late' | 'stale';
/** What came from the cache after it, and how many requests told that. */
const SHARES = {
  none: ['cachedShare', 'cachedShareCount'],
  late: ['lateCachedShare', 'lateCachedShareCount'],
  stale: ['staleCachedShare', 'staleCachedShareCount'],
} as const satisfies Record<Pause, readonly (keyof ModelEstimate)[]>;
/** Weight of the newest request in a mean, once there are enough of them. */
const WEIGHT = 0.05;
/** The upper estimate of a cost shrinks this slowly, so that it stays above P99. */
const P99_DECAY = 0.999;
/** That of an excess, which each request has a part in and not only a session's first, more slowly still. */
const EXCESS_DECAY = 0.9999;
/** No estimate exceeds this, whatever an upstream said that earlier requests had cost. */
const MOST_TOKENS = 1_000_000_000;
/** With fewer requests than this the upper estimate is not one yet. */
const ENOUGH_FOR_P99 = 20;

/** Before anything was learned: English and JSON have 3.5 to 4 bytes a token; output is the traces' mean. */
const UNLEARNED: ModelEstimate = {
  count: 0,
  usedAt: 0,
  promptTokensPerByte: 0.3,
  outputTokens: 405,
  cachedShare: 0,
  cachedShareCount: 0,
  lateCachedShare: 0,
  lateCachedShareCount: 0,
  staleCachedShare: 0,
  staleCachedShareCount: 0,
  costP99: 0,
  excessP99: 0,
};

export function estimateCost(
  learned: ModelEstimate | undefined,
  request: EstimateRequest,
  now: Instant,
): Estimate {
  const model = learned ?? UNLEARNED;
  const { trail } = request;
  const outputTokens = Math.min(MOST_TOKENS, Math.ceil(model.outputTokens));
  const prompt = expectedPrompt(model, request);
  const cached = trail === null ? 0 : expectedCacheRead(model, request.bodyBytes, trail, now);
  const inputTokens = Math.min(MOST_TOKENS, Math.max(1, Math.ceil(prompt - cached)));
  if (trail === null) {
    const most =
      model.count < ENOUGH_FOR_P99 ? MOST_TOKENS : Math.ceil(model.costP99) - outputTokens;
    return { inputTokens: Math.min(inputTokens, Math.max(1, most)), outputTokens, coldTokens: 0 };
  }
  const sure = pauseSince(trail, now) === 'none';
  const coldTokens = sure ? 0 : Math.min(MOST_TOKENS, Math.ceil(cached));
  return { inputTokens, outputTokens, coldTokens };
}

/** Learns from a settled request. */
export function observe(
  learned: ModelEstimate | undefined,
  request: EstimateRequest,
  usage: ObservedUsage,
  now: Instant,
): ModelEstimate {
  const model = learned ?? UNLEARNED;
  const count = model.count + 1;
  const mean = (old: number, value: number) => weightedMean(old, value, count);
  const cost = usage.inputTokens + usage.outputTokens;
  const estimate = estimateCost(learned, request, now);
  const estimated = estimate.inputTokens + estimate.outputTokens + estimate.coldTokens;
  return {
    ...observeCache(model, request.trail, usage, now),
    count,
    // A long answer may settle after shorter ones that began later.
    usedAt: Math.max(model.usedAt, now),
    promptTokensPerByte: mean(
      model.promptTokensPerByte,
      promptOf(usage) / Math.max(1, request.bodyBytes),
    ),
    outputTokens: mean(model.outputTokens, usage.outputTokens),
    costP99: request.trail === null ? Math.max(cost, model.costP99 * P99_DECAY) : model.costP99,
    excessP99: Math.max(0, cost - estimated, model.excessP99 * EXCESS_DECAY),
  };
}

/** What to remember of a settled request for the next one of its session. */
export function nextTrail(
  request: EstimateRequest,
  usage: ObservedUsage,
  at: Instant,
): SessionTrail {
  return {
    at,
    bodyBytes: request.bodyBytes,
    promptTokens: promptOf(usage),
    cachedShare: cachedShare(request.trail, usage),
    earlierCachedShare: request.trail?.cachedShare ?? null,
  };
}

function expectedPrompt(model: ModelEstimate, { bodyBytes, trail }: EstimateRequest): number {
  if (trail === null || bodyBytes < trail.bodyBytes) return model.promptTokensPerByte * bodyBytes;
  return trail.promptTokens + model.promptTokensPerByte * (bodyBytes - trail.bodyBytes);
}

function expectedCacheRead(
  model: ModelEstimate,
  bodyBytes: number,
  trail: SessionTrail,
  now: Instant,
): number {
  // A body that shrank is a new prompt: the client compacted the conversation.
  if (bodyBytes < trail.bodyBytes) return 0;
  const pause = pauseSince(trail, now);
  const share = model[SHARES[pause][0]];
  // A cache outlives a pause or it doesn't: what half of it would be is true of none.
  const warm = pause === 'none' || share >= 0.5;
  return (warm ? warmShare(model, trail) : share) * trail.promptTokens;
}

function warmShare(model: ModelEstimate, trail: SessionTrail): number {
  const { cachedShare: last, earlierCachedShare: earlier } = trail;
  return last === null ? model.cachedShare : Math.max(last, earlier ?? 0);
}

/** Learns how much comes from the cache, apart for each length of pause. */
function observeCache(
  model: ModelEstimate,
  trail: SessionTrail | null,
  usage: ObservedUsage,
  now: Instant,
): ModelEstimate {
  const observed = cachedShare(trail, usage);
  if (trail === null || observed === null) return model;
  const [share, counted] = SHARES[pauseSince(trail, now)];
  const count = model[counted] + 1;
  return { ...model, [share]: weightedMean(model[share], observed, count), [counted]: count };
}

function pauseSince(trail: SessionTrail, now: Instant): Pause {
  const ms = now - trail.at;
  return ms <= SHORT_CACHE_MS ? 'none' : ms <= LONG_CACHE_MS ? 'late' : 'stale';
}

/** The mean with its `count`-th value: of all of them first, later of the newest ones above all. */
function weightedMean(mean: number, value: number, count: number): number {
  return mean + Math.max(WEIGHT, 1 / count) * (value - mean);
}

function cachedShare(trail: SessionTrail | null, usage: ObservedUsage): number | null {
  if (trail === null || trail.promptTokens <= 0) return null;
  return Math.min(1, usage.cachedTokens / trail.promptTokens);
}

function promptOf(usage: ObservedUsage): number {
  return usage.inputTokens + usage.cachedTokens;
}

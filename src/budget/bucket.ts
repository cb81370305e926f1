import { BOUNDS, type BucketCell, type Instant, type LimitState } from '../state/scope-state.js';
import { forgetDenial } from './charges.js';
import { effectiveBudget } from './limits.js';
import type { LimitRules } from './settings.js';
import { keepStated } from './stated-budget.js';
import { closeWindow, openWindow } from './window.js';

/**
 * A token bucket (GCRA, wire facts §1.3): it holds a budget and drains without pause, a whole one in a window's
 * length. `used` is its level at `bucket.at`; what has drained since is found when somebody looks, in whole
 * tokens, with the remainder kept, so that nothing is lost however often that is. The level drains as a whole:
 * what is orphaned with it, in proportion, while what is in flight stays on record until it settles.
 *
 * Our level never lies below that of a bucket of this budget which was charged the true costs from the start.
 * So a refund is worth no more than the lowest level since the charge: below that the bucket would have
 * been empty, and what drains from an empty bucket comes to nobody's good. `history` keeps the lowest level, and
 * what was charged, for the last window lengths one by one; of the length that the charge was made in, what was
 * left of the level it made tells more.
 *
 * The window is open from the first charge until nothing has been charged for twelve window lengths.
 */

/** A bucket that was charged nothing for so many window lengths is forgotten. */
const HISTORY = BOUNDS.history;
/** What was charged longer ago, in window lengths, may have been charged to another limit. */
const REMEMBERED = 120;

/** No instant further away is told: it could not be written. */
const LONGEST_WAIT_MS = 3_660 * 86_400_000;

/** After a refusal the upstream's bucket is full; ours is taken for this much more than full, to let it drain. */
const OVERFULL = 1.1;

/** What a charge made of the level, for the one who corrects it. */
export interface Mark {
  readonly level: number;
  readonly lowered: number;
}

/** Brings the level up to `now`; the same reference if nothing has drained. `budget`: a window's, null: none yet. */
export function drain(
  limit: LimitState,
  rule: LimitRules,
  budget: number | null,
  now: Instant,
): LimitState {
  const { bucket, window } = limit;
  if (bucket === null || window.endsAt === null || now <= bucket.at) return limit;
  const over = now >= window.endsAt;
  const lowered = limit.used === 0 ? limit : lower(limit, rule, budget, now);
  const drained = forgetDenial(lowered, budget);
  if (!over) return drained;
  if (drained.used === 0 && window.observed) return close(drained);
  if (window.observed) return drained;
  // All that was there at a loss has left the history.
  const endsAt = now + HISTORY * rule.windowMs;
  return { ...drained, window: { ...window, endsAt, observed: true } };
}

function lower(
  limit: LimitState,
  rule: LimitRules,
  budget: number | null,
  now: Instant,
): LimitState {
  const { bucket } = limit;
  if (bucket === null) return limit;
  if (budget === null) {
    // At what rate it drains is not known: what the last window was charged is the most it can hold. Once the rate
    // is known, it drains from now on: how much has drained before, nobody knows.
    const used = Math.min(limit.used, chargedSince(bucket.history, now - 2 * rule.windowMs));
    return atLevel(limit, used, now, 0);
  }
  const { tokens, carry } = drainedIn(now - bucket.at, budget, bucket.carry, rule.windowMs);
  if (tokens === 0) return limit;
  return tokens >= limit.used
    ? atLevel(limit, 0, now, 0)
    : atLevel(limit, limit.used - tokens, now, carry);
}

/** The level fell to `used`. */
function atLevel(limit: LimitState, used: number, at: Instant, carry: number): LimitState {
  const history = limit.bucket?.history ?? [];
  const newest = history.at(-1);
  const lowest =
    newest === undefined || newest.low <= used
      ? history
      : [...history.slice(0, -1), { ...newest, low: used }];
  const orphaned =
    limit.orphaned === 0 ? 0 : Math.floor(limit.orphaned * Math.min(1, used / limit.used));
  const lowered = limit.bucket?.lowered ?? 0;
  return { ...limit, used, orphaned, bucket: { at, carry, lowered, history: lowest } };
}

/** Whole tokens that drain in `elapsedMs`, and the remainder, in tokens of a window's length: exact at any magnitude. */
function drainedIn(elapsedMs: number, budget: number, carry: number, windowMs: number) {
  const rate = Math.max(1, Math.floor(budget));
  const product = elapsedMs * rate + carry;
  if (Number.isSafeInteger(product)) {
    const rest = product % windowMs;
    return { tokens: (product - rest) / windowMs, carry: rest };
  }
  const exact = BigInt(Math.floor(elapsedMs)) * BigInt(rate) + BigInt(Math.floor(carry));
  const length = BigInt(windowMs);
  return { tokens: Number(exact / length), carry: Number(exact % length) };
}

function close(limit: LimitState): LimitState {
  const { window, control } = limit;
  return {
    ...limit,
    window: closeWindow(window),
    used: 0,
    bucket: null,
    unsettled: {},
    orphaned: 0,
    stated: keepStated(limit),
    control: { ...control, denied: null },
  };
}

/** The first moment at which the bucket has room for `amount`, if nothing more is charged. */
export function bucketRoomAt(
  limit: LimitState,
  { windowMs }: LimitRules,
  amount: number,
  budget: number,
  now: Instant,
): Instant {
  const over = Math.ceil(limit.used + amount - budget);
  if (over <= 0 || limit.bucket === null) return now;
  const { at, carry } = limit.bucket;
  const rate = Math.max(1, Math.floor(budget));
  const product = over * windowMs;
  const waitMs = Number.isSafeInteger(product)
    ? Math.ceil((product - carry) / rate)
    : Number((BigInt(over) * BigInt(windowMs) - BigInt(Math.floor(carry)) - 1n) / BigInt(rate)) + 1;
  return Math.max(now, Math.min(at + waitMs, now + LONGEST_WAIT_MS));
}

/** When the bucket is empty, if nothing more is charged. */
export function emptyAt(
  limit: LimitState,
  rule: LimitRules,
  budget: number | null,
  now: Instant,
): Instant {
  if (budget === null) return now + rule.windowMs;
  return limit.used === 0 ? now : bucketRoomAt(limit, rule, budget, budget, now);
}

const NEW = { carry: 0, lowered: 0, history: [] } as const;

export function markOf({ used, bucket }: LimitState): Mark | null {
  return bucket === null ? null : { level: used, lowered: bucket.lowered };
}

/** Charges `amount` now. Call on a level that `drain` has brought up to now. */
export function chargeBucket(
  limit: LimitState,
  rule: LimitRules,
  amount: number,
  now: Instant,
  observed: boolean,
): LimitState {
  const opens = limit.window.endsAt === null;
  const opened = opens ? openWindow(limit.window, rule, now, observed) : limit.window;
  const forgottenAt = now + HISTORY * rule.windowMs;
  const endsAt = opens || opened.observed ? forgottenAt : opened.endsAt;
  const { at, carry, lowered, history } = limit.bucket ?? { ...NEW, at: now };
  const empty = limit.used === 0;
  return {
    ...limit,
    // There is no other beginning of it to be found.
    window: { ...opened, endsAt, anchored: true },
    used: limit.used + amount,
    bucket: {
      at: empty ? now : at,
      carry: empty ? 0 : carry,
      lowered,
      history: addCharge(history, rule, amount, limit.used, now),
    },
  };
}

function addCharge(
  history: readonly BucketCell[],
  { windowMs }: LimitRules,
  amount: number,
  level: number,
  now: Instant,
): readonly BucketCell[] {
  const newest = history.at(-1);
  if (newest !== undefined && now < newest.at + windowMs) {
    const low = Math.min(newest.low, level);
    return [...history.slice(0, -1), { ...newest, amount: newest.amount + amount, low }];
  }
  const kept = history.filter(({ at }) => at > now - REMEMBERED * windowMs);
  return bounded([...kept, { at: now, amount, low: level, full: false }], now);
}

/**
 * Joins two neighbours where there are too many: those that are shortest for their age, so that what is long ago is
 * known in long stretches. Where the upstream's bucket was last full remains a beginning.
 */
function bounded(history: readonly BucketCell[], now: Instant): readonly BucketCell[] {
  if (history.length <= HISTORY) return history;
  const lastFull = history.findLastIndex(({ full }) => full);
  let join = 1;
  let least = Infinity;
  for (let index = 1; index < history.length - 1; index += 1) {
    const [before, after] = [history[index - 1], history[index + 1]];
    if (before === undefined || after === undefined || index === lastFull) continue;
    const share = (after.at - before.at) / Math.max(1, now - before.at);
    if (share >= least) continue;
    least = share;
    join = index;
  }
  const older = history[join - 1] as BucketCell;
  const newer = history[join] as BucketCell;
  const joined = {
    ...older,
    amount: older.amount + newer.amount,
    low: Math.min(older.low, newer.low),
  };
  return [...history.slice(0, join - 1), joined, ...history.slice(join + 1)];
}

/** Corrects what was charged at `at` and left that mark. */
export function correctBucket(
  limit: LimitState,
  rule: LimitRules,
  excess: number,
  { at, mark }: { readonly at: Instant; readonly mark: Mark | null },
): Pick<LimitState, 'used' | 'orphaned' | 'bucket'> {
  const { used, orphaned, bucket } = limit;
  if (bucket === null) return { used: used + Math.max(0, excess), orphaned, bucket };
  const { history } = bucket;
  const own = history.findLastIndex((cell) => cell.at <= at);
  const most = excess < 0 && own >= 0 ? lowestSince(limit, rule, own, { at, mark }) : 0;
  // What is refunded was never there: the level since then was that much lower.
  const change = excess > 0 ? excess : -Math.min(-excess, most);
  const corrected = history.map((cell, index) => {
    if (own < 0 || index < own) return cell;
    const amount = index === own ? Math.max(0, cell.amount + excess) : cell.amount;
    return { ...cell, amount, low: Math.max(0, cell.low + Math.min(0, change)) };
  });
  return {
    used: used + change,
    orphaned: Math.min(orphaned, used + change),
    bucket: {
      ...bucket,
      lowered: bucket.lowered + Math.max(0, -change),
      history: corrected,
    },
  };
}

/** A bound of the level since a charge in the stretch `own`, from below. */
function lowestSince(
  limit: LimitState,
  { windowMs }: LimitRules,
  own: number,
  { at, mark }: { readonly at: Instant; readonly mark: Mark | null },
): number {
  const { used, bucket } = limit;
  if (bucket === null) return 0;
  const rate = effectiveBudget(limit, false);
  const later = bucket.history.slice(own + 1);
  const ownLow = bucket.history[own]?.low ?? 0;
  const end = later[0]?.at ?? bucket.at;
  // Without a budget nobody knows the rate: the mark tells nothing then.
  const drained =
    rate === null ? Infinity : Math.ceil((Math.max(0, end - at) / windowMs) * rate) + 1;
  // What was taken out since may have been taken out of this part of it.
  const left = mark === null ? 0 : mark.level - drained - (bucket.lowered - mark.lowered);
  return Math.max(0, Math.min(used, Math.max(ownLow, left), ...later.map(({ low }) => low)));
}

/** An instance is gone: what it had in flight counts in the level, but is no ground for a sample. */
export function forgetCharged(limit: LimitState, amount: number): LimitState['bucket'] {
  if (limit.bucket === null) return null;
  let left = amount;
  const history = limit.bucket.history.toReversed().map((cell) => {
    const taken = Math.min(left, cell.amount);
    left -= taken;
    return taken === 0 ? cell : { ...cell, amount: cell.amount - taken };
  });
  return { ...limit.bucket, history: history.toReversed() };
}

/** The upstream refused for it, so its own bucket is full: whatever is refunded, ours is too. */
export function fillBucket(
  limit: LimitState,
  { windowMs }: LimitRules,
  budget: number | null,
  now: Instant,
): LimitState {
  const { bucket } = limit;
  if (bucket === null) return limit;
  const emptied = bucket.history.map((cell) => ({ ...cell, low: 0 }));
  const newest = emptied.at(-1);
  // Refusals within a window's length of each other tell no more than the first.
  const begins = newest === undefined || !newest.full || now >= newest.at + windowMs;
  const history = begins
    ? bounded([...emptied, { at: now, amount: 0, low: 0, full: true }], now)
    : emptied;
  const used = budget === null ? limit.used : Math.max(limit.used, Math.ceil(OVERFULL * budget));
  // As if all of it had been taken out and put in anew: nothing of it comes back.
  const lowered = bucket.lowered + limit.used;
  return { ...limit, used, bucket: { at: now, carry: 0, lowered, history } };
}

/** The upstream's bucket holds no more than this. */
export function capBucket(limit: LimitState, most: number): LimitState {
  const { bucket, used } = limit;
  if (bucket === null || used <= most) return limit;
  const lowered = bucket.lowered + used - most;
  const history = bucket.history.map((cell) => ({ ...cell, low: Math.min(cell.low, most) }));
  const orphaned = Math.min(limit.orphaned, most);
  return { ...limit, used: most, orphaned, bucket: { ...bucket, lowered, history } };
}

/** What a sample is worth, from when on what was charged is part of it, and how much of that counts. */
export interface Measured {
  readonly tokens: number;
  readonly from: Instant;
  readonly weight: number;
}

/**
 * What the upstream's limit is at least, at a refusal. Since any instant before, its bucket took what was charged,
 * and drained a limit a window's length, or less: so the limit is no lower than that charge over one and the
 * lengths since. The highest such bound is the nearest; it is exact where the bucket was empty then and not since.
 * Since a refusal, when it was full, it drained what it took since: no lower than that over the lengths. What
 * was before that refusal may have been another limit.
 */
export function measureBucket(limit: LimitState, { windowMs }: LimitRules, now: Instant): Measured {
  let best: Measured = { tokens: 0, from: now, weight: 1 };
  let charged = 0;
  for (const { at, amount, full } of limit.bucket?.history.toReversed() ?? []) {
    charged += amount;
    const lengths = (now - at) / windowMs;
    // So soon after a refusal what is in flight is more than what is known.
    const known = full && lengths >= 1;
    const weight = 1 / (known ? lengths : 1 + lengths);
    const tokens = Math.floor(charged * weight);
    if (tokens > best.tokens) best = { tokens, from: at, weight };
    if (known) break;
  }
  return best;
}

function chargedSince(history: readonly BucketCell[], from: Instant): number {
  return history.reduce((sum, { at, amount }) => (at > from ? sum + amount : sum), 0);
}

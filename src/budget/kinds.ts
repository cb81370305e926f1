import type { Instant, LimitState } from '../state/scope-state.js';
import { bucketRoomAt, correctBucket, type Mark } from './bucket.js';
import type { LimitRules } from './settings.js';
import { correct as correctWindow, isSliding, roomAt } from './sliding.js';

/** What the three kinds of window do each in its own way. */

/** What is remembered of a charge, to correct it. */
export interface ChargeEntry {
  readonly window: number;
  /** When it was added. */
  readonly at: Instant;
  readonly amount: number;
  /** What the window had been charged for certain when this was added. */
  readonly before: number;
  /** Of a bucket. */
  readonly mark: Mark | null;
}

/** When there is room for `amount` in the limit, if nothing more is charged but what is promised before. */
export function roomFor(
  limit: LimitState,
  rule: LimitRules,
  amount: number,
  budget: number,
  now: Instant,
  promised = 0,
): Instant {
  if (isBucket(rule, limit)) {
    return bucketRoomAt(limit, rule, promised + Math.min(amount, budget), budget, now);
  }
  if (isSliding(rule, limit)) return roomAt(limit, rule, amount, budget, now);
  return limit.window.endsAt ?? now + rule.windowMs;
}

export function isBucket(rule: LimitRules, limit: LimitState): boolean {
  return limit.window.endsAt === null ? rule.kind === 'bucket' : limit.bucket !== null;
}

/** Adds to what was charged, or takes from it. */
export function correct(
  limit: LimitState,
  rule: LimitRules,
  excess: number,
  entry: ChargeEntry,
  now: Instant,
): Pick<LimitState, 'cells' | 'used' | 'orphaned' | 'bucket' | 'window'> {
  const { cells, bucket, window } = limit;
  return isBucket(rule, limit)
    ? { cells, window, ...correctBucket(limit, rule, excess, entry) }
    : { bucket, ...correctWindow(limit, rule, excess, { at: entry.at, now }) };
}

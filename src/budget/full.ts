import type { Instant, LimitState } from '../state/scope-state.js';
import { measureBucket } from './bucket.js';
import type { LimitRules } from './settings.js';

/** This much of the budget counts as all of it: admission stops a little short of the last token. */
export const FULL = 0.9;

/**
 * Whether the upstream has just granted the whole budget. Of a bucket its level does not tell: that is at the
 * brim for moments only, however much is asked for, and a lull of seconds empties it. What it took since some
 * instant before, over one and the window lengths since, is what it grants at least (`measureBucket`): all of
 * the budget where that came at once, or where it has been asked for without pause for some ten lengths.
 */
export function isFull(limit: LimitState, rule: LimitRules, now: Instant): boolean {
  const { bucket, budget, used } = limit;
  if (budget.current === null) return false;
  const granted = bucket === null ? used : measureBucket(limit, rule, now).tokens;
  return granted >= FULL * budget.current;
}

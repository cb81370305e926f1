import type { BudgetState, Instant, LimitState } from '../state/scope-state.js';
import { isFull } from './full.js';
import { SHORTEST_REST_MS } from './growth.js';
import { isBucket } from './kinds.js';
import type { LimitRules } from './settings.js';
import { isSliding } from './sliding.js';

/**
 * Learn mode measures floor and ceiling from what samples told. Where the upstream takes all of a budget
 * for so many windows in a row, and refuses nothing, that budget is the new measure: else its ceiling
 * would hold for good what has risen beyond it, for without a refusal there is no sample.
 */
export const PROVING_WINDOWS = 3;

/** The budget becomes the measure of its own bounds. */
export function asMeasure(budget: BudgetState): BudgetState {
  return { ...budget, reference: budget.current, found: budget.current };
}

/**
 * The same for windows that don't end: sliding ones and buckets. They are looked at by the scheduled job, and
 * must be found full for as long as three windows, with no pause as long as one. A window's length of minutes
 * counts as the plateau counts it: three minutes prove nothing of a limit that others use, too.
 */
export function proveRolling(limit: LimitState, rule: LimitRules, now: Instant): LimitState {
  if (rule.budget !== null || !(isBucket(rule, limit) || isSliding(rule, limit))) return limit;
  if (!isFull(limit, rule, now)) return limit;
  const { budget, control } = limit;
  const windowMs = Math.max(rule.windowMs, SHORTEST_REST_MS);
  const goesOn = control.full !== null && now - control.full.until < windowMs;
  // What it is full of came in the length before.
  const since = goesOn ? control.full.since : Math.max(0, now - rule.windowMs);
  if (now - since < PROVING_WINDOWS * windowMs) {
    return { ...limit, control: { ...control, full: { since, until: now } } };
  }
  return {
    ...limit,
    budget: asMeasure(budget),
    control: { ...control, full: null },
  };
}

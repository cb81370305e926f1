import { boundsOf } from '../budget/bounds.js';
import { headersLead, limitOf, wasRefused } from '../budget/limits.js';
import type { LimitRules } from '../budget/settings.js';
import { leavesOpen } from '../budget/stated-budget.js';
import type { HotState } from '../state/scope-state.js';
import type { Draft } from './draft.js';
import type { Policies } from './policies.js';
import { latest } from './upkeep.js';

/**
 * Where the upstream has refused nothing in this window, the budget alone stands in the way, a little below
 * the limit: a probe then is likely to meet the limit itself, and looks this much less often.
 */
const UNREFUSED_PATIENCE = 4;

/**
 * Exhaustion by a budget that was learned is looked into from time to time, for upstream quotas get
 * reset early; and so is one by a budget inferred from a fraction, or by a window that is stated to be used up
 * and nobody knows how long, for while nothing passes nothing more is stated. One by the operator's own budget is
 * not: nothing learned ever loosens that. Where several limits are exhausted, it must be due for each of them.
 */
export function routineProbeIsDue(
  { hot, now }: Draft,
  policies: Policies,
  rule: LimitRules,
  amount: number,
): boolean {
  const { probeEveryMs } = policies.backoff.settings;
  if (probeEveryMs <= 0) return false;
  const patience = patienceFor(hot, rule, amount);
  const { control } = limitOf(hot.limits, rule.name);
  const since = latest(control.denied?.at ?? null, control.probedAt);
  if (patience === null || control.denied === null || since === null) return false;
  return now - since >= patience * probeEveryMs;
}

/**
 * How many of the configured intervals lie between two looks at the limit while it has no room for this amount;
 * null: none is taken.
 */
export function patienceFor(hot: HotState, rule: LimitRules, amount: number): number | null {
  const limit = limitOf(hot.limits, rule.name);
  const open = leavesOpen(limit) && headersLead(limit);
  if (limit.budget.source !== 'learned' && !open) return null;
  // A bucket has room again in a moment.
  if (rule.kind === 'bucket' || exceedsOwnBudget(hot, rule, amount)) return null;
  if (open || wasRefused(limit)) return 1;
  // With as much as that on record a probe is a try of the edge, and those are the controller's.
  return limit.used >= (limit.budget.learned ?? 0) ? null : UNREFUSED_PATIENCE;
}

/** Whether it goes beyond the operator's budget, of which a scope whose state was lost has the floor. */
export function exceedsOwnBudget(
  hot: HotState,
  { name, budget }: LimitRules,
  amount: number,
): boolean {
  if (budget === null) return false;
  const limit = limitOf(hot.limits, name);
  const floor = hot.cautious === null ? null : boundsOf(limit.budget).floor;
  return limit.used + amount > Math.min(budget, floor ?? budget);
}

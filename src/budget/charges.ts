import type { Instant, LimitState } from '../state/scope-state.js';
import { certainOf, effectiveBudget } from './limits.js';
import type { LimitRules } from './settings.js';

/** An idle window takes any single request, however large its estimate. */
export function fits(limit: LimitState, amount: number, budget: number | null): boolean {
  return budget === null || limit.used + Math.min(amount, budget) <= budget;
}

export function noteDenial(
  limit: LimitState,
  amount: number,
  cautious: boolean,
  now: Instant,
): LimitState {
  if (fits(limit, amount, effectiveBudget(limit, cautious))) return limit;
  const { denied, inTheWay } = limit.control;
  // A refusal for the floor of cautious mode says nothing about the budget being too small.
  const inTheWayNow = inTheWay || !fits(limit, amount, limit.budget.current);
  if (denied !== null && denied.amount <= amount && inTheWayNow === inTheWay) return limit;
  const smallest = Math.min(amount, denied?.amount ?? amount);
  return {
    ...limit,
    control: {
      ...limit.control,
      inTheWay: inTheWayNow,
      denied: { at: denied?.at ?? now, amount: smallest },
    },
  };
}

/**
 * What the window had been charged for certain; of a bucket soon after a refusal nothing, for it was taken
 * for full.
 */
export function provenUse(limit: LimitState, rule: LimitRules, now: Instant): number {
  const { refusedAt } = limit.control;
  const filled = limit.bucket !== null && refusedAt !== null;
  return filled && now - refusedAt < 2 * rule.windowMs ? 0 : certainOf(limit);
}

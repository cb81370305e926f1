import type { Instant, LimitState } from '../state/scope-state.js';
import { certainOf, effectiveBudget } from './limits.js';
import type { LimitRules } from './settings.js';

/** An idle window takes any single request, however large its estimate. `kept`: what is to be left free. */
export function fits(limit: LimitState, amount: number, budget: number | null, kept = 0): boolean {
  return budget === null || limit.used + kept + Math.min(amount, budget) <= budget;
}

export function noteDenial(
  limit: LimitState,
  amount: number,
  cautious: boolean,
  now: Instant,
): LimitState {
  const budget = effectiveBudget(limit, cautious);
  if (fits(limit, amount, budget)) return limit;
  const { inTheWay } = limit.control;
  const { denied } = forgetDenial(limit, budget).control;
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

/** A request like those refused would pass now: it is no longer held against the window. The same reference if not. */
export function forgetDenial(limit: LimitState, budget: number | null): LimitState {
  const { control } = limit;
  if (control.denied === null || !fits(limit, control.denied.amount, budget)) return limit;
  return { ...limit, control: { ...control, denied: null } };
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

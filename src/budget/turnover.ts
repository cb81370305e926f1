import type { BudgetState, LimitState } from '../state/scope-state.js';
import { belowLimit, clampToBounds } from './bounds.js';
import { provenBudget } from './growth.js';
import { FULL } from './guards.js';
import { wasRefused } from './limits.js';
import type { LimitRules } from './settings.js';
import { keepStated } from './stated-budget.js';
import { closeWindow } from './window.js';

/** Learn mode: this many full windows in a row without a refusal make the budget the new reference. */
const PROVING_WINDOWS = 3;

/** Closes the window; what it taught about the budget is kept. */
export function endWindow(limit: LimitState, rule: LimitRules): LimitState {
  const { budget, control } = limit;
  const full = budget.current !== null && limit.used >= FULL * budget.current;
  const fullWindows = full && !wasRefused(limit) ? control.fullWindows + 1 : 0;
  const proven = rule.budget === null && fullWindows >= PROVING_WINDOWS;
  return {
    ...limit,
    window: closeWindow(limit.window),
    used: 0,
    cells: [],
    unsettled: {},
    orphaned: 0,
    others: 0,
    stated: keepStated(limit),
    budget: proven ? { ...budget, reference: budget.current } : retreat(limit),
    control: {
      ...control,
      denied: null,
      inTheWay: control.inTheWay || full,
      fullWindows: proven ? 0 : fullWindows,
    },
  };
}

function retreat(limit: LimitState): BudgetState {
  const current = wasRefused(limit) ? limit.budget.current : provenBudget(limit);
  return current === limit.budget.current ? limit.budget : { ...limit.budget, current };
}

export function budgetFor(rule: LimitRules): BudgetState {
  return {
    current: rule.budget,
    learned: null,
    reference: rule.budget,
    source: rule.budget === null ? 'none' : 'configured',
  };
}

/** The operator changed the budget since this was stored: the new one counts, what was learned stays. */
export function adoptRules(limit: LimitState, rule: LimitRules): LimitState {
  const { budget } = limit;
  if (rule.budget === null) {
    return budget.source === 'configured' ? { ...limit, budget: budgetFor(rule) } : limit;
  }
  if (rule.budget === budget.reference) return limit;
  if (budget.learned === null) return { ...limit, budget: budgetFor(rule) };
  const base = { ...budget, reference: rule.budget };
  return {
    ...limit,
    budget: {
      ...base,
      current: clampToBounds(base, belowLimit(budget.learned, limit.control.agreeing)),
    },
  };
}

import { type BudgetSource, CLOSED_WINDOW, type LimitState } from '../state/scope-state.js';
import { boundsOf } from './bounds.js';
import type { LimitRules } from './settings.js';
import { saysRoom, statedBudget } from './stated-budget.js';

/** The limits of one scope by name: the budget's slice of ScopeState. */
export type Limits = Readonly<Record<string, LimitState>>;

const NEW_LIMIT: LimitState = {
  window: CLOSED_WINDOW,
  used: 0,
  cells: [],
  bucket: null,
  unsettled: {},
  orphaned: 0,
  others: 0,
  stated: null,
  budget: { current: null, learned: null, reference: null, found: null, source: 'none' },
  control: {
    nudgedAt: null,
    inTheWay: false,
    denied: null,
    probedAt: null,
    refusedAt: null,
    fullWindows: 0,
    full: null,
    agreeing: 0,
    accepted: 0,
  },
};

export function limitOf(limits: Limits, name: string): LimitState {
  return limits[name] ?? NEW_LIMIT;
}

/** Applies `change` to every configured limit; the same reference comes back if none changed. */
export function mapLimits(
  limits: Limits,
  rules: readonly LimitRules[],
  change: (limit: LimitState, rule: LimitRules) => LimitState,
): Limits {
  let next = limits;
  for (const rule of rules) {
    const limit = limitOf(limits, rule.name);
    const changed = change(limit, rule);
    if (changed !== limit || limits[rule.name] === undefined) {
      next = { ...next, [rule.name]: changed };
    }
  }
  return next;
}

/** What admission measures against: the budget, or its floor in cautious mode; null: none yet. */
export function effectiveBudget(limit: LimitState, cautious: boolean): number | null {
  const { current } = limit.budget;
  const { floor } = boundsOf(limit.budget);
  const own = current === null || floor === null || !cautious ? current : Math.min(current, floor);
  const stated = statedBudget(limit);
  if (stated === null || own === null) return stated ?? own;
  return Math.min(own, stated);
}

/** Whether the upstream's own statements are what binds: they never loosen the operator's budget. */
export function headersLead(limit: LimitState): boolean {
  const { current } = limit.budget;
  const stated = statedBudget(limit);
  return stated !== null && (current === null || stated <= current);
}

/**
 * Whether what is too small for a request of this amount is only a budget that was inferred from a fraction, and the
 * fraction says that there is room: then requests go one at a time.
 */
export function hasStatedRoom(limit: LimitState, amount: number): boolean {
  const own = limit.budget.current ?? Infinity;
  return headersLead(limit) && saysRoom(limit) && limit.used + amount <= own;
}

export function sourceOf(limit: LimitState): BudgetSource {
  return headersLead(limit) ? 'headers' : limit.budget.source;
}

/** In flight now, over all instances. */
export function reservedOf(limit: LimitState): number {
  let reserved = 0;
  for (const amount of Object.values(limit.unsettled)) reserved += amount;
  return reserved;
}

/** What the upstream has charged for certain, others' use included: neither in flight nor orphaned. */
export function certainOf(limit: LimitState): number {
  return Math.max(0, limit.used - limit.orphaned - reservedOf(limit));
}

/** A request like those the budget refused lately would be refused now. */
export function isExhausted(limit: LimitState, cautious: boolean): boolean {
  const budget = effectiveBudget(limit, cautious);
  if (budget === null) return false;
  const { denied } = limit.control;
  if (limit.used >= budget) return true;
  // As admission has it, an idle window takes what is larger than the budget.
  return denied !== null && limit.used + Math.min(denied.amount, budget) > budget;
}

/** The upstream refused a request for this limit within the window. */
export function wasRefused({ window, control }: LimitState): boolean {
  const { startedAt } = window;
  return startedAt !== null && control.refusedAt !== null && control.refusedAt >= startedAt;
}

/** Puts a charge in flight. */
export function add(
  unsettled: LimitState['unsettled'],
  instance: string,
  amount: number,
): LimitState['unsettled'] {
  return { ...unsettled, [instance]: (unsettled[instance] ?? 0) + amount };
}

/** A charge taken out of flight. */
interface Released {
  readonly limit: LimitState;
  /** What of it was given back before: it was taken for orphaned, and a statement seemed to prove it unspent. */
  readonly givenBack: number;
}

/** Takes a charge out of flight: out of the instance's share, or of what was orphaned meanwhile. */
export function release(limit: LimitState, instance: string, amount: number): Released {
  const left = (limit.unsettled[instance] ?? 0) - amount;
  if (left > 0) {
    const unsettled = { ...limit.unsettled, [instance]: left };
    return { limit: { ...limit, unsettled }, givenBack: 0 };
  }
  const { [instance]: _, ...unsettled } = limit.unsettled;
  const orphaned = Math.max(0, limit.orphaned + left);
  // What is missing from the other kinds has drained, or freed with its cell.
  const isFixed = limit.bucket === null && limit.cells.length === 0;
  const givenBack = isFixed ? Math.max(0, -limit.orphaned - left) : 0;
  return { limit: { ...limit, unsettled, orphaned }, givenBack };
}

import { CLOSED_WINDOW, type LimitState } from '../state/scope-state.js';
import { boundsOf } from './bounds.js';
import type { LimitRules } from './settings.js';

/** The limits of one scope by name: the budget's slice of ScopeState. */
export type Limits = Readonly<Record<string, LimitState>>;

const NEW_LIMIT: LimitState = {
  window: CLOSED_WINDOW,
  used: 0,
  cells: [],
  unsettled: {},
  orphaned: 0,
  budget: { current: null, learned: null, reference: null, source: 'none' },
  control: {
    nudgedAt: null,
    inTheWay: false,
    denied: null,
    probedAt: null,
    refusedAt: null,
    fullWindows: 0,
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
  if (current === null || floor === null || !cautious) return current;
  return Math.min(current, floor);
}

/** In flight now, over all instances. */
export function reservedOf(limit: LimitState): number {
  let reserved = 0;
  for (const amount of Object.values(limit.unsettled)) reserved += amount;
  return reserved;
}

/** What the upstream has charged for certain: neither in flight nor orphaned. */
export function certainOf(limit: LimitState): number {
  return Math.max(0, limit.used - limit.orphaned - reservedOf(limit));
}

/** A request like those the budget refused lately would be refused now. */
export function isExhausted(limit: LimitState, cautious: boolean): boolean {
  const budget = effectiveBudget(limit, cautious);
  if (budget === null) return false;
  const { denied } = limit.control;
  return limit.used >= budget || (denied !== null && limit.used + denied.amount > budget);
}

/** The upstream refused a request for this limit within the window. */
export function wasRefused({ window, control }: LimitState): boolean {
  const { startedAt } = window;
  return startedAt !== null && control.refusedAt !== null && control.refusedAt >= startedAt;
}

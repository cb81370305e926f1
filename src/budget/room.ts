import type { Instant, LimitState } from '../state/scope-state.js';
import { fits } from './charges.js';
import { amountIn, type Cost } from './cost.js';
import { roomFor } from './kinds.js';
import { effectiveBudget, limitOf, type Limits } from './limits.js';
import { keptFree, NO_PROMISES, promisedOf, type Promises } from './promised.js';
import type { LimitRules } from './settings.js';

interface Asked {
  readonly cost: Cost;
  readonly cautious: boolean;
  readonly promises?: Promises;
}

/** Why limits have no room for a request. */
export interface Lack {
  /** The one that has room last. */
  readonly limit: string;
  readonly until: Instant;
  /** Every limit that it does not fit. */
  readonly full: readonly string[];
  /** All of them have room for it, which is promised to others. */
  readonly promised: boolean;
}

/** Null: each of the limits has room for the request, and for those before it. */
export function lackOf(
  limits: Limits,
  rules: readonly LimitRules[],
  request: Asked,
  now: Instant,
): Lack | null {
  const full: string[] = [];
  let promised = true;
  let last: LimitLack | null = null;
  for (const rule of rules) {
    const lack = lackIn(limitOf(limits, rule.name), rule, request, now);
    if (lack === null) continue;
    full.push(rule.name);
    promised &&= lack.promised;
    if (last === null || lack.until > last.until) last = lack;
  }
  return last && { ...last, full, promised };
}

type LimitLack = Omit<Lack, 'full'>;

function lackIn(
  limit: LimitState,
  rule: LimitRules,
  { cost, cautious, promises = NO_PROMISES }: Asked,
  now: Instant,
): LimitLack | null {
  const budget = effectiveBudget(limit, cautious);
  const amount = amountIn(rule.unit, cost);
  const before = promisedOf(promises, rule.name);
  if (budget === null || fits(limit, amount, budget, keptFree(before, budget))) return null;
  const until = roomFor(limit, rule, amount, budget, now, before.all);
  return { limit: rule.name, until, promised: fits(limit, amount, budget) };
}

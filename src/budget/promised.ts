import { amountIn, type Cost } from './cost.js';
import { isBucket } from './kinds.js';
import { effectiveBudget, limitOf, type Limits } from './limits.js';
import type { LimitRules } from './settings.js';

/**
 * Room at a bucket goes to requests in the order in which they were refused. It would go to whoever asks in the
 * moment that it appears otherwise: many small requests keep a large one out for ever, and that one which comes back
 * when it was told to finds room is luck. So it is promised to it, and others pass as long as they leave it.
 *
 * A bucket loses nothing by that, for it drains all the while. A fixed window frees as a whole and needs no order; in
 * a sliding one, room that waits for a large request is room unused (measured: a fifth of the budget), so there it
 * stays with who comes first.
 */

/** What requests will be charged, by limit, in its unit. */
export type Amounts = Readonly<Record<string, number>>;

/** What of one limit is promised to the requests that come before another. */
export interface Promised {
  readonly all: number;
  /** To the one whose turn it is; the largest of these, where there are several. */
  readonly next: number;
}

/** By limit. */
export type Promises = Readonly<Record<string, Promised>>;

export const NO_PROMISES: Promises = {};
const NOTHING: Promised = { all: 0, next: 0 };

/** Who never comes back keeps no more than this part of a budget free, or what the next one needs. */
const MOST_KEPT_FREE = 0.5;

export function promisedOf(promises: Promises, limit: string): Promised {
  return promises[limit] ?? NOTHING;
}

/** Adds a promise; `isNext`: it is that request's turn. */
export function addPromise(
  promises: Record<string, Promised>,
  amounts: Amounts,
  isNext: boolean,
): void {
  for (const limit in amounts) {
    const amount = amounts[limit] ?? 0;
    const { all, next } = promises[limit] ?? NOTHING;
    promises[limit] = { all: all + amount, next: isNext ? Math.max(next, amount) : next };
  }
}

/** How much of a budget others have to leave. */
export function keptFree({ all, next }: Promised, budget: number): number {
  return Math.min(all, Math.max(MOST_KEPT_FREE * budget, next));
}

/** What a request that these limits refused will be charged to the buckets. Null if another kind is full as well. */
export function wantedFrom(
  limits: Limits,
  rules: readonly LimitRules[],
  { cost, cautious }: { readonly cost: Cost; readonly cautious: boolean },
  full: readonly string[],
): Amounts | null {
  const wanted: Record<string, number> = {};
  for (const rule of rules) {
    const limit = limitOf(limits, rule.name);
    if (isBucket(rule, limit)) {
      const budget = effectiveBudget(limit, cautious) ?? Infinity;
      wanted[rule.name] = Math.min(budget, amountIn(rule.unit, cost));
    } else if (full.includes(rule.name)) return null;
  }
  return wanted;
}

import type { Limits } from '../budget/limits.js';
import { effectiveBudget, limitOf } from '../budget/limits.js';
import type { LimitRules } from '../budget/settings.js';

/** A limit as the upstream names it: `tokens`, `input_tokens`, `5h`, `7d_opus`. */
export interface StatedLimit {
  readonly name: string;
  /** Length of its window where the name tells. */
  readonly windowMs: number | null;
}

/** What an answer's headers state about one limit. */
export interface LimitStatement extends StatedLimit {
  readonly status: 'allowed' | 'warning' | 'rejected' | null;
  readonly limit: number | null;
  readonly remaining: number | null;
  /** Fraction used, 0 to 1 and above. */
  readonly utilization: number | null;
  /** Epoch ms. */
  readonly resetAt: number | null;
  /** The upstream says that this one binds now. */
  readonly representative: boolean;
}

export type Attribution =
  /** `other-window`: its request was charged to one that is over. */
  | { readonly limit: string; readonly reason: 'other-window' | null }
  | { readonly limit: null; readonly reason: 'unattributed' | 'other-limit' };

/** A limit used less than this is not the likely cause of an unexplained refusal. */
const LIKELY_CAUSE = 0.5;

/**
 * The limit a refusal is to blame on: by what it names, else the only one, else the fullest if at
 * least half of it is used. `named` is what the refusal names as exceeded, `rules` the limits that the
 * refused request was charged to: no other can have refused it.
 */
export function attribute(
  named: readonly StatedLimit[],
  statements: readonly LimitStatement[],
  limits: Limits,
  rules: readonly LimitRules[],
): Attribution {
  for (const stated of named) {
    const rule = ruleFor(stated, statements, rules);
    if (rule !== null) return { limit: rule.name, reason: null };
  }
  if (named.length > 0) return { limit: null, reason: 'other-limit' };
  const [only, ...others] = rules;
  if (only !== undefined && others.length === 0) return { limit: only.name, reason: null };
  const fullest = fullestLimit(limits, rules);
  return fullest === null
    ? { limit: null, reason: 'unattributed' }
    : { limit: fullest, reason: null };
}

/**
 * The configured limit that a statement is about, or null.
 * By name; else by unit and length. A name like `7d_opus` is one model's own limit and matches by name
 * only; one like `7d` is every model's, so a pool has it only as its own name. Where a scope has one
 * limit of a length that the upstream doesn't state, the statement the upstream calls representative
 * speaks for it. `rules` are the limits that the request was charged to.
 */
export function ruleFor(
  stated: StatedLimit,
  statements: readonly LimitStatement[],
  rules: readonly LimitRules[],
): LimitRules | null {
  const byName = rules.find((rule) => rule.name === stated.name);
  if (byName !== undefined) return byName;
  const length = stated.windowMs;
  const isPlainWindow = /^\d+[mhd]$/.test(stated.name);
  const shared = rules.filter(({ models }) => models === null);
  const ofLength = (rule: LimitRules) => rule.windowMs === length;
  if (isPlainWindow) {
    const byLength = shared.find(ofLength);
    if (byLength !== undefined) return byLength;
  }
  // A limit of a unit is each model's own (wire facts §1.3), so the pool's, if it has one.
  const byUnit = rules.filter((rule) => rule.unit === stated.name && ofLength(rule));
  const [own] = [...byUnit.filter(({ models }) => models !== null), ...byUnit];
  if (own !== undefined) return own;
  const [only, ...others] = shared;
  if (only === undefined || others.length > 0 || !isPlainWindow) return null;
  if (statements.some(({ windowMs }) => windowMs === only.windowMs)) return null;
  const statement = statements.find(({ name }) => name === stated.name);
  const speaks = statement === undefined || statement.representative || statements.length === 1;
  return speaks ? only : null;
}

/**
 * What only some models have: a window with a length, and whose it is, of which the set is open (wire facts
 * §1.2); or what Anthropic grants requests of `speed: "fast"`, which has limits of its own (§1.1).
 */
export function isOfSomeModels(name: string): boolean {
  return /^(?:\d+[smhdw]|fast)_./.test(name);
}

function fullestLimit(limits: Limits, rules: readonly LimitRules[]): string | null {
  let fullest: string | null = null;
  let most = LIKELY_CAUSE;
  for (const { name } of rules) {
    const limit = limitOf(limits, name);
    const budget = effectiveBudget(limit, false);
    const share = budget === null ? 0 : limit.used / budget;
    if (share >= most) {
      fullest = name;
      most = share;
    }
  }
  return fullest;
}

import { speaksOfWindow } from '../backoff/refusal.js';
import type { Charge } from '../budget/budget-controller.js';
import { amountIn, type Cost } from '../budget/cost.js';
import { limitOf } from '../budget/limits.js';
import { chargedOf } from '../budget/model-pools.js';
import type { LimitRules } from '../budget/settings.js';
import { ruleFor, type LimitStatement } from './attribution.js';
import type { Draft } from './draft.js';
import type { Policies } from './policies.js';

/** What an answer stated, as the governor keeps it until an update takes it along. */
export interface Told {
  readonly statements: readonly LimitStatement[];
  /** What the answer told of its request's cost that was not charged before. */
  readonly surprise: Cost;
  /** It told that some time ago. */
  readonly late: boolean;
}

/** The request whose answer it is, and what of it the upstream had counted for certain by then. */
export interface Stating {
  readonly sequence: number;
  readonly charge: Charge;
  readonly counted: Cost;
  /** What it has cost where that is settled; null while it is in flight. What is refused begins no window. */
  readonly cost: Cost | 'refused' | null;
}

/** Name of the pool that pays for what goes beyond a subscription's windows. */
const OVERAGE = 'overage';

/**
 * What the upstream states in its headers: resets end our windows, amounts and fractions correct what they
 * were charged, each in the limit it is about, as far as the request was charged to that one.
 */
export function takeStatements(
  draft: Draft,
  { budget }: Policies,
  stating: Stating,
  { statements, ...told }: Told,
): void {
  if (statements.length === 0) return;
  const rules = chargedOf(draft.rules, stating.charge);
  const beyond = isPaidBeyond(statements);
  for (const statement of statements) {
    const rule = ruleFor(statement, statements, rules);
    const entry = rule === null ? undefined : stating.charge[rule.name];
    if (rule === null || entry === undefined) continue;
    if (!told.late)
      takeReset(draft, { budget }, rule, { ...stating, window: entry.window }, statement);
    const { name, windowMs, limit, remaining, utilization, status } = statement;
    if (windowMs !== rule.windowMs || beyond) continue;
    const rejected = status === 'rejected';
    const { sequence } = stating;
    const counted = amountIn(rule.unit, stating.counted);
    const surprise = amountIn(rule.unit, told.surprise);
    const context = { sequence, counted, surprise, late: told.late };
    const stated = { name, limit, remaining, utilization, rejected };
    const limits = budget.takeStatement(draft.hot.limits, rule, entry, stated, context);
    draft.setHot({ limits });
  }
}

function takeReset(
  draft: Draft,
  { budget }: Pick<Policies, 'budget'>,
  rule: LimitRules,
  { window, cost }: Pick<Stating, 'cost'> & { readonly window: number },
  { resetAt, windowMs }: LimitStatement,
): void {
  if (resetAt === null) return;
  if (windowMs !== rule.windowMs && !canEnd(rule, resetAt - draft.now)) return;
  const { limits } = draft.hot;
  if (cost !== 'refused') {
    const settled = cost === null ? null : amountIn(rule.unit, cost);
    const turned = budget.turn(limits, rule, { window, settled }, resetAt, draft.now);
    if (turned !== limits) {
      draft.report({
        kind: 'window-ended',
        limit: rule.name,
        used: limitOf(limits, rule.name).used,
      });
      return draft.setHot({ limits: turned });
    }
  }
  draft.setHot({ limits: budget.stateReset(limits, rule.name, window, resetAt, draft.now) });
}

/** A reset stated for a window of another name may be ours only if it lies within our length. */
function canEnd(rule: LimitRules, inMs: number): boolean {
  return inMs > 0 && inMs <= rule.windowMs && speaksOfWindow(inMs, rule.windowMs);
}

/** Whoever switched overage on wants to go on when a window is used up: then it is no limit. */
function isPaidBeyond(statements: readonly LimitStatement[]): boolean {
  return statements.some(
    ({ name, status }) => name === OVERAGE && (status === 'allowed' || status === 'warning'),
  );
}

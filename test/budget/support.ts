import { BudgetController, type Charge } from '../../src/budget/budget-controller.js';
import type { Cost } from '../../src/budget/cost.js';
import type { GuardContext } from '../../src/budget/guards.js';
import { limitOf, type Limits } from '../../src/budget/limits.js';
import type { LimitRules } from '../../src/budget/settings.js';
import type { LimitState } from '../../src/state/scope-state.js';

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const WINDOW = 5 * HOUR;

export const CONTROLLER = new BudgetController({
  nudge: 0.03,
  nudgeEveryMs: HOUR,
  minTrafficMs: HOUR,
  minUsed: 0.05,
});

export function rule(budget: number | null, overrides: Partial<LimitRules> = {}): LimitRules {
  return {
    name: 'tokens',
    unit: 'tokens',
    kind: 'fixed',
    windowMs: WINDOW,
    models: null,
    budget,
    ...overrides,
  };
}

export function tokens(amount: number): Cost {
  return { requests: 1, inputTokens: amount, outputTokens: 0 };
}

/** One limit of a scope taken through a sequence of events, at instants counted from 0. */
export class Book {
  limits: Limits = {};

  constructor(
    readonly rules: readonly LimitRules[],
    readonly controller = CONTROLLER,
  ) {}

  get limit(): LimitState {
    return limitOf(this.limits, (this.rules[0] as LimitRules).name);
  }

  roll(now: number): this {
    this.limits = this.controller.roll(this.limits, this.rules, now);
    return this;
  }

  /** Charges `amount` tokens; returns the charge, or the refusal. */
  charge(amount: number, now: number, options: { cautious?: boolean; instance?: string } = {}) {
    const { cautious = false, instance = 'a' } = options;
    this.roll(now);
    const request = { cost: tokens(amount), instance, cautious };
    const { limits, outcome } = this.controller.charge(this.limits, this.rules, request, now);
    this.limits = limits;
    return outcome;
  }

  /** Charges and settles at the same cost. */
  spend(amount: number, now: number): this {
    const outcome = this.charge(amount, now);
    if (outcome.kind === 'refused') throw new Error(`refused at ${now}`);
    this.settleCharge(outcome.charge, amount, now);
    this.limits = this.controller.anchor(this.limits, this.rules, outcome.charge, now);
    return this;
  }

  settleCharge(charge: Charge, amount: number, now: number): void {
    const actual = tokens(amount);
    this.limits = this.controller.settle(this.limits, this.rules, charge, actual, 'a', now);
  }

  nudge(now: number, context: Partial<GuardContext> = {}) {
    this.roll(now);
    const all = { firstAdmittedAt: 0, cautious: false, crashLoop: false, ...context };
    const { limits, outcome } = this.controller.nudge(this.limits, this.rules, all, now);
    this.limits = limits;
    return outcome[0];
  }
}

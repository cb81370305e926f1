import { NO_COST, type Cost } from '../budget/cost.js';
import type { LimitStatement } from './attribution.js';

/** What is left unexplained of a limit is news once it is this part of it. */
const STEP = 0.002;
/** What is refilled within this time has another reset with every answer, and none that ends anything. */
const REFILLED_WITHIN_MS = 60_000;
/** More than anybody uses in turn: each answer of one that was forgotten is a write. */
const MOST_MODELS = 128;

/** Of one model: what was stated last for news, and what this process has spent since. */
interface Told {
  statements: readonly LimitStatement[];
  requests: number;
  inputTokens: number;
  outputTokens: number;
}

/**
 * Tells whether what the upstream states is worth an update. Its headers come with every answer, and what remains
 * differs every time; but as long as it falls by what we spend, it says nothing new.
 */
export class StatementNews {
  /** By model, the longest unused first: pools of models have limits of the same names. */
  readonly #told = new Map<string, Told>();

  /** What this process has charged for a request, or corrected it by. */
  spend(model: string, cost: Cost, before: Cost = NO_COST): void {
    const told = this.#told.get(model);
    if (told === undefined) return;
    told.requests += cost.requests - before.requests;
    told.inputTokens += cost.inputTokens - before.inputTokens;
    told.outputTokens += cost.outputTokens - before.outputTokens;
  }

  /** Whether an answer to this model states something that was not known. */
  has(model: string, statements: readonly LimitStatement[]): boolean {
    if (statements.length === 0) return false;
    const told = this.#told.get(model);
    this.#told.delete(model);
    const isNews = told === undefined || !isExplained(told, statements);
    this.#told.set(model, isNews ? { statements, ...NO_COST } : told);
    if (this.#told.size > MOST_MODELS) this.#forgetOne();
    return isNews;
  }

  /** A client chooses the model's name. What is forgotten is news once more, and no more than that. */
  #forgetOne(): void {
    const [longestUnused] = this.#told.keys();
    if (longestUnused !== undefined) this.#told.delete(longestUnused);
  }
}

function isExplained(told: Told, statements: readonly LimitStatement[]): boolean {
  if (told.statements.length !== statements.length) return false;
  for (let place = 0; place < statements.length; place += 1) {
    const before = told.statements[place];
    const statement = statements[place];
    if (before === undefined || statement === undefined) return false;
    if (!saysTheSame(before, statement) || !fallsAsSpent(told, before, statement)) return false;
  }
  return true;
}

function saysTheSame(before: LimitStatement, statement: LimitStatement): boolean {
  return (
    before.name === statement.name &&
    before.limit === statement.limit &&
    before.utilization === statement.utilization &&
    before.status === statement.status &&
    (before.resetAt === statement.resetAt || isRefilled(statement))
  );
}

function fallsAsSpent(told: Told, before: LimitStatement, statement: LimitStatement): boolean {
  const { remaining, limit, name } = statement;
  if (remaining === null || before.remaining === null) return remaining === before.remaining;
  const unexplained = before.remaining - remaining - spentOf(name, told);
  return Math.abs(unexplained) < STEP * (limit ?? before.remaining);
}

function spentOf(name: string, { requests, inputTokens, outputTokens }: Told): number {
  if (name.includes('requests')) return requests;
  if (name.includes('input')) return inputTokens;
  return name.includes('output') ? outputTokens : inputTokens + outputTokens;
}

function isRefilled({ windowMs, limit, remaining }: LimitStatement): boolean {
  return (
    windowMs !== null && windowMs <= REFILLED_WITHIN_MS && limit !== null && remaining !== null
  );
}

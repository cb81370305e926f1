import type { LimitRules } from '../budget/settings.js';
import type { Unit } from '../state/scope-state.js';
import { type LimitStatement, ruleFor, type StatedLimit } from './attribution.js';

/** So many are told of; a client chooses the model's name. */
const MOST_MISSING = 16;

const UNITS: readonly Unit[] = ['tokens', 'input_tokens', 'output_tokens', 'requests'];

/** A limit that the upstream has refused for, and that no configured one is about. */
export interface MissingLimit {
  /** As the upstream names it: `input_tokens`, `7d`, `7d_opus`. */
  readonly name: string;
  /** What it counts, where the name tells. */
  readonly unit: Unit | null;
  readonly windowMs: number | null;
  /** What the upstream grants of it in a window, where it says so. */
  readonly granted: number | null;
  /** Of the request that was refused first; empty if unknown. */
  readonly model: string;
  readonly refusals: number;
}

/**
 * What Tidegate could pace if it were told of it, and only waits out instead. In memory: the next refusal tells it
 * again.
 */
export class MissingLimits {
  readonly #missing = new Map<string, MissingLimit>();

  get all(): readonly MissingLimit[] {
    return [...this.#missing.values()];
  }

  /** The upstream refused: returns those that are new. `rules` are the limits that the request was charged to. */
  note(
    { limits, statements }: Refused,
    model: string,
    rules: readonly LimitRules[],
  ): readonly MissingLimit[] {
    const news: MissingLimit[] = [];
    for (const named of limits) {
      if (isConfigured(named, statements, rules)) continue;
      const key = `${named.name} ${model}`;
      const known = this.#missing.get(key);
      if (known === undefined && this.#missing.size >= MOST_MISSING) continue;
      const missing = {
        ...(known ?? describe(named, statements, model)),
        refusals: (known?.refusals ?? 0) + 1,
      };
      this.#missing.set(key, missing);
      if (known === undefined) news.push(missing);
    }
    return news;
  }
}

interface Refused {
  /** What it names as exceeded. */
  readonly limits: readonly StatedLimit[];
  readonly statements: readonly LimitStatement[];
}

/** One by the name of a unit is meant for what it counts in its window: `tokens` of five hours is not that of a minute. */
function isConfigured(
  named: StatedLimit,
  statements: readonly LimitStatement[],
  rules: readonly LimitRules[],
): boolean {
  const rule = ruleFor(named, statements, rules);
  if (rule === null) return false;
  return unitOf(named) === null || named.windowMs === null || named.windowMs === rule.windowMs;
}

function describe(
  { name, windowMs }: StatedLimit,
  statements: readonly LimitStatement[],
  model: string,
): MissingLimit {
  const stated = statements.find((statement) => statement.name === name);
  const granted = stated?.limit ?? null;
  return { name, unit: unitOf({ name }), windowMs, granted, model, refusals: 0 };
}

function unitOf({ name }: Pick<StatedLimit, 'name'>): Unit | null {
  return UNITS.find((unit) => unit === name) ?? null;
}

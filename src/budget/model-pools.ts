import type { LimitRules } from './settings.js';

/**
 * A limit with `models` is a pool of its own: it is charged and blamed only for requests of these models.
 * A request whose model is not known may be of any of them, and unknown is never zero: it is charged to
 * every limit.
 */

/** The limits that a request of `model` is charged to; `''`: its model is not known. */
export function rulesFor(rules: readonly LimitRules[], model: string): readonly LimitRules[] {
  if (rules.every((rule) => binds(rule, model))) return rules;
  return rules.filter((rule) => binds(rule, model));
}

/** The limits among `rules` that were charged. */
export function chargedOf(
  rules: readonly LimitRules[],
  charge: Readonly<Record<string, unknown>>,
): readonly LimitRules[] {
  if (rules.every(({ name }) => Object.hasOwn(charge, name))) return rules;
  return rules.filter(({ name }) => Object.hasOwn(charge, name));
}

export function binds({ models }: LimitRules, model: string): boolean {
  if (models === null || model === '') return true;
  const name = model.toLowerCase();
  return models.some((pattern) => matchesModel(pattern, name));
}

/**
 * Whether a name in lower case is one that the pattern, in lower case, means: `*` stands for any
 * characters, or none. Each part is looked for once, from left to right, so this takes no longer than
 * the name is long, whatever a client calls its model.
 */
export function matchesModel(pattern: string, name: string): boolean {
  const [first = '', ...others] = pattern.split('*');
  const last = others.pop();
  if (last === undefined) return name === first;
  if (!name.startsWith(first)) return false;
  let from = first.length;
  for (const part of others) {
    const at = name.indexOf(part, from);
    if (at < 0) return false;
    from = at + part.length;
  }
  return name.length - last.length >= from && name.endsWith(last);
}

/**
 * Where in a JSON document a number stands: names with dots between them and places in a list in
 * brackets, `usage.total_tokens`, `results[0].meta.tokens`, `steps[-1].tokens` for the last. A name
 * is made of letters, digits, `_`, `-`, `$` and `@`; what has other characters can't be named.
 */
export type JsonPath = readonly (string | number)[];

const STEP = /(?<name>[\w$@-]{1,100})|\[(?<place>-?\d{1,6})\]/y;
const MOST_STEPS = 16;

/** Null for a text that is no path. */
export function parseJsonPath(text: string): JsonPath | null {
  const steps: (string | number)[] = [];
  for (let at = 0; at < text.length;) {
    if (steps.length > 0 && text[at] === '.') at += 1;
    else if (steps.length > 0 && text[at] !== '[') return null;
    STEP.lastIndex = at;
    const groups = STEP.exec(text)?.groups;
    if (groups === undefined) return null;
    const { name, place } = groups;
    // `a.[0]` would be a second spelling of `a[0]`.
    if (name === undefined && text[at - 1] === '.') return null;
    steps.push(name ?? Number(place));
    at = STEP.lastIndex;
  }
  return steps.length > 0 && steps.length <= MOST_STEPS ? steps : null;
}

/** What stands there; undefined if nothing does. */
export function valueAt(document: unknown, path: JsonPath): unknown {
  let value = document;
  for (const step of path) {
    if (typeof value !== 'object' || value === null) return undefined;
    if (typeof step === 'number') {
      if (!Array.isArray(value)) return undefined;
      value = value.at(step) as unknown;
    } else {
      if (Array.isArray(value) || !Object.hasOwn(value, step)) return undefined;
      value = (value as Record<string, unknown>)[step];
    }
  }
  return value;
}

/**
 * Checks of raw JSON values, composed to the shape of a type. A check returns the very value it was
 * given, or a copy in which missing fields are filled in; it throws a Mismatch that names the
 * place.
 */
export type Check<Value> = (raw: unknown) => Value;

/**
 * Caught by whoever started the check; `place` grows on the way up, so a right value costs no path.
 */
export class Mismatch extends Error {
  place = '';

  constructor(readonly expected: string) {
    super(expected);
  }
}

function checkAt<Value>(key: string, check: Check<Value>, raw: unknown): Value {
  try {
    return check(raw);
  } catch (error) {
    if (error instanceof Mismatch) error.place = error.place ? `${key}.${error.place}` : key;
    throw error;
  }
}

/** Fields it does not know are kept; one that is missing gets its default, if it has one. */
export function object<Value extends object>(
  fields: { readonly [Name in keyof Value]-?: Check<Value[Name]> },
  defaults: Partial<Value> = {},
): Check<Value> {
  const checks: [string, Check<unknown>][] = Object.entries(fields);
  const filled = defaults as Readonly<Record<string, unknown>>;
  return (raw) => {
    const given = plainObject(raw);
    let result = given;
    for (const [name, check] of checks) {
      const value = given[name];
      const checked =
        value === undefined && name in filled ? filled[name] : checkAt(name, check, value);
      if (checked === value) continue;
      if (result === given) result = { ...given };
      result[name] = checked;
    }
    return result as Value;
  };
}

/** An object with names as keys, any names. */
export function map<Value>(
  check: Check<Value>,
  bound: number,
): Check<Readonly<Record<string, Value>>> {
  return (raw) => {
    const given = plainObject(raw);
    const names = Object.keys(given);
    if (names.length > bound) throw new Mismatch(`at most ${bound} entries`);
    let changed = false;
    const entries = names.map((name): [string, Value] => {
      const checked = checkAt(name, check, given[name]);
      changed ||= checked !== given[name];
      return [name, checked];
    });
    // Not by assignment: a name may be `__proto__`.
    return changed ? Object.fromEntries(entries) : (given as Record<string, Value>);
  };
}

export function list<Value>(check: Check<Value>, bound: number): Check<readonly Value[]> {
  return (raw) => {
    if (!Array.isArray(raw)) throw new Mismatch('a list');
    if (raw.length > bound) throw new Mismatch(`at most ${bound} items`);
    const items = raw.map((item, index) => checkAt(String(index), check, item));
    return items.every((item, index) => item === raw[index]) ? raw : items;
  };
}

export function nullable<Value>(check: Check<Value>): Check<Value | null> {
  return (raw) => (raw === null ? null : check(raw));
}

export function number(low: number, high: number): Check<number> {
  return (raw) => {
    // NaN fails both comparisons.
    if (typeof raw === 'number' && raw >= low && raw <= high) return raw;
    throw new Mismatch(`a number from ${low} to ${high}`);
  };
}

export function oneOf<Value extends string>(...values: readonly Value[]): Check<Value> {
  return (raw) => {
    const value = values.find((candidate) => candidate === raw);
    if (value === undefined) throw new Mismatch(`one of ${values.join(', ')}`);
    return value;
  };
}

export const text: Check<string> = (raw) => {
  if (typeof raw !== 'string') throw new Mismatch('a string');
  return raw;
};

export const flag: Check<boolean> = (raw) => {
  if (typeof raw !== 'boolean') throw new Mismatch('true or false');
  return raw;
};

function plainObject(raw: unknown): Record<string, unknown> {
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) {
    throw new Mismatch('an object');
  }
  return raw as Record<string, unknown>;
}

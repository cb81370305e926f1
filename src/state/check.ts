/**
 * Checks of raw JSON values, composed to the shape of a type. A check returns the very value it was
 * given, or a copy in which missing fields are filled in; it throws a Mismatch that names the
 * place. Parts that are the same in `sound`, which has passed the check, are not looked at again.
 */
export type Check<Value> = (raw: unknown, sound?: unknown) => Value;

/**
 * Caught by whoever started the check; `place` grows on the way up, so a right value costs no path.
 */
export class Mismatch extends Error {
  place = '';

  constructor(readonly expected: string) {
    super(expected);
  }
}

function checkAt<Value>(key: string, check: Check<Value>, raw: unknown, sound: unknown): Value {
  try {
    return check(raw, sound);
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
  return (raw, sound) => {
    const given = plainObject(raw);
    const known = isRecord(sound) ? sound : NOTHING;
    let result = given;
    for (const [name, check] of checks) {
      const value = given[name];
      if (value !== undefined && value === known[name]) continue;
      const checked =
        value === undefined && name in filled
          ? filled[name]
          : checkAt(name, check, value, known[name]);
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
  return (raw, sound) => {
    const given = plainObject(raw);
    const known = isRecord(sound) ? sound : NOTHING;
    const names = Object.keys(given);
    if (names.length > bound) throw new Mismatch(`at most ${bound} entries`);
    let changed = false;
    const entries = names.map((name): [string, Value] => {
      const before = Object.hasOwn(known, name) ? known[name] : undefined;
      const value = given[name];
      if (value !== undefined && value === before) return [name, value as Value];
      const checked = checkAt(name, check, value, before);
      changed ||= checked !== given[name];
      return [name, checked];
    });
    // Not by assignment: a name may be `__proto__`.
    return changed ? Object.fromEntries(entries) : (given as Record<string, Value>);
  };
}

export function list<Value>(check: Check<Value>, bound: number): Check<readonly Value[]> {
  return (raw, sound) => {
    if (!Array.isArray(raw)) throw new Mismatch('a list');
    if (raw.length > bound) throw new Mismatch(`at most ${bound} items`);
    if (raw === sound) return raw;
    const items = raw.map((item, index) => checkAt(String(index), check, item, undefined));
    return items.every((item, index) => item === raw[index]) ? raw : items;
  };
}

export function nullable<Value>(check: Check<Value>): Check<Value | null> {
  return (raw, sound) => (raw === null ? null : check(raw, sound));
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

const NOTHING: Readonly<Record<string, unknown>> = Object.freeze(Object.create(null));

function plainObject(raw: unknown): Record<string, unknown> {
  if (!isRecord(raw)) throw new Mismatch('an object');
  return raw;
}

export function isRecord(raw: unknown): raw is Record<string, unknown> {
  return typeof raw === 'object' && raw !== null && !Array.isArray(raw);
}

/** Of a store's writes. */
export function isRevision(raw: unknown): raw is number {
  return Number.isSafeInteger(raw) && (raw as number) >= 0;
}

export function isInstant(raw: unknown): raw is number {
  return typeof raw === 'number' && raw >= 0 && raw <= LAST_INSTANT;
}

/** The last instant that a date can be written for, in epoch ms. */
const LAST_INSTANT = 8_640_000_000_000_000;

export const count = number(0, Number.MAX_SAFE_INTEGER);
export const instant = number(0, LAST_INSTANT);
export const share = number(0, 1);

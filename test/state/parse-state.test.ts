import { isDeepStrictEqual } from 'node:util';
import { describe, expect, it } from 'vitest';
import { hasCode } from '../../src/platform/tidegate-error.js';
import { faultOf, parseScopeState } from '../../src/state/parse-state.js';
import { BOUNDS, emptyScopeState, SCHEMA } from '../../src/state/scope-state.js';
import { fullScopeState, withSequence } from '../support/scope-states.js';

type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
type Path = readonly string[];

const FULL = JSON.stringify(fullScopeState());

/** Every place in a JSON value, the outermost first. */
function* places(value: Json, path: Path = []): Generator<{ path: Path; value: Json }> {
  yield { path, value };
  if (typeof value !== 'object' || value === null) return;
  for (const [name, inner] of Object.entries(value)) yield* places(inner, [...path, name]);
}

/** The full state with one place changed; undefined takes the field out. */
function changed(path: Path, value: unknown): unknown {
  const root = JSON.parse(FULL) as Record<string, unknown>;
  let parent = root;
  for (const name of path.slice(0, -1)) parent = parent[name] as Record<string, unknown>;
  const last = path.at(-1)!;
  if (value === undefined) delete parent[last];
  else parent[last] = value;
  return root;
}

function corruptionOf(raw: unknown): string {
  try {
    parseScopeState(raw);
  } catch (error) {
    if (hasCode(error, 'STATE_CORRUPT')) return error.message;
    throw error;
  }
  return 'nothing wrong';
}

const PLACES = [...places(JSON.parse(FULL) as Json)].filter(({ path }) => path.length > 0);

describe('parseScopeState', () => {
  it('reads what was saved, as it was', () => {
    for (const state of [fullScopeState(), emptyScopeState()]) {
      const raw: unknown = JSON.parse(JSON.stringify(state));
      expect(parseScopeState(raw)).toBe(raw);
      expect(raw).toEqual(state);
    }
  });

  it('names the place of a value of the wrong type, wherever it is', () => {
    for (const { path, value } of PLACES) {
      const wrong = Array.isArray(value) ? {} : [];
      expect(corruptionOf(changed(path, wrong))).toContain(`${path.join('.')}: expected`);
    }
    expect(corruptionOf(null)).toBe('the scope: expected an object');
  });

  it('takes no number that is negative, infinite or not a number', () => {
    for (const { path, value } of PLACES) {
      // What an event tells may be negative, or a word.
      if (typeof value !== 'number' || path.includes('details')) continue;
      for (const wrong of [-1, Number.NaN, Number.POSITIVE_INFINITY, '1']) {
        expect(corruptionOf(changed(path, wrong))).toContain(`${path.join('.')}: expected`);
      }
    }
  });

  it('takes no kind or reason it does not know', () => {
    for (const path of ['hot.backoff.cooldown.kind', 'hot.lost.reason', 'hot.cautious.reason']) {
      expect(corruptionOf(changed(path.split('.'), 'new'))).toContain(`${path}: expected one of`);
    }
  });

  it('fills in what is missing from the empty state, or refuses: no field is ever left out', () => {
    const filled: string[] = [];
    for (const { path } of PLACES) {
      const entry = KEYED.has(path.at(-2) ?? '') || /^\d+$/.test(path.at(-1)!);
      const raw = changed(path, undefined);
      if (entry || corruptionOf(raw) !== 'nothing wrong') continue;
      expect(valueAt(parseScopeState(raw), path), path.join('.')).toBeDefined();
      filled.push(path.join('.'));
    }
    expect(filled).toContain('hot.counters.upstream429');
    expect(filled).toContain('cold.estimates');
    expect(filled).not.toContain('hot');
    // Unknown is never zero.
    for (const name of ['limits', 'backoff', 'backoff.cooldown', 'instances', 'sequence', 'lost']) {
      expect(filled).not.toContain(`hot.${name}`);
    }
    expect(filled).not.toContain('hot.limits.tokens.used');
  });

  it('reads what earlier minor versions wrote', () => {
    const { events: _, guards: __, ...cold } = fullScopeState().cold;
    expect(parseScopeState({ ...fullScopeState(), cold }).cold).toEqual({
      ...cold,
      events: [],
      guards: {},
    });
  });

  it('takes no figure of an event that could not be written', () => {
    const path = ['cold', 'events', '0', 'details', 'from'];
    for (const wrong of [Number.NaN, Number.POSITIVE_INFINITY, [], undefined]) {
      const raw = wrong === undefined ? changed(path, {}) : changed(path, wrong);
      expect(corruptionOf(raw)).toContain(`${path.join('.')}: expected`);
    }
  });

  it('takes a window that is not known to be observed for one that is not', () => {
    const path = ['hot', 'limits', 'tokens', 'window', 'observed'];
    expect(valueAt(parseScopeState(changed(path, undefined)), path)).toBe(false);
  });

  it('reads what a version without model pools wrote', () => {
    expect(parseScopeState(changed(['hot', 'pools'], undefined)).hot.pools).toEqual({});
  });

  it('keeps fields it does not know, also beside those it fills in', () => {
    const raw = changed(['hot', 'counters'], { admitted: 1, later: { x: 1 } });
    expect(parseScopeState(raw).hot.counters).toEqual({
      ...emptyScopeState().hot.counters,
      admitted: 1,
      later: { x: 1 },
    });
  });

  it('keeps a name like __proto__ a name', () => {
    const window = '{"number":1,"startedAt":null,"endsAt":null,"anchored":true,"stated":true}';
    const limit = FULL.slice(FULL.indexOf('"tokens":') + 9).replace(
      /"window":\{.*?\}/,
      `"window":${window}`,
    );
    const raw = JSON.parse(FULL.replace(/"tokens":\{.*/, `"__proto__":${limit}`)) as unknown;
    const { limits } = parseScopeState(raw).hot;
    expect(Object.keys(limits)).toEqual(['__proto__']);
    expect(Object.getPrototypeOf(limits)).toBe(Object.prototype);
    expect(Object.values(limits)[0]).toMatchObject({ window: { observed: false } });
  });

  it('bounds lists and maps', () => {
    const many = (count: number, item: unknown) => Array.from({ length: count }, () => item);
    const named = (count: number, item: unknown) =>
      Object.fromEntries(many(count, item).map((each, index) => [`n${index}`, each]));
    const start = { at: 1, unclean: false };
    const { probes } = fullScopeState().hot.backoff;
    const cases: [string, (count: number) => unknown, number][] = [
      ['hot.limits.tokens.unsettled', (count) => named(count, 1), BOUNDS.instances],
      ['hot.backoff.probes', (count) => many(count, probes[0]), BOUNDS.probes],
      [
        'hot.pools',
        (count) => named(count, fullScopeState().hot.pools['limit:opus']),
        BOUNDS.pools,
      ],
      ['cold.starts.host-a', (count) => many(count, start), BOUNDS.startsPerInstance],
      ['cold.starts', (count) => named(count, []), BOUNDS.instances],
    ];
    for (const [place, make, bound] of cases) {
      const path = place.split('.');
      expect(corruptionOf(changed(path, make(bound)))).toBe('nothing wrong');
      expect(corruptionOf(changed(path, make(bound + 1)))).toContain(`${place}: expected at most`);
    }
  });

  it('stops at a schema that is newer than it knows, and at none', () => {
    const newer = () => parseScopeState(JSON.parse(FULL), SCHEMA.major + 1);
    expect(newer).toThrow(expect.objectContaining({ code: 'STATE_NEWER' }));
    for (const major of [0, -1, 1.5, Number.NaN]) {
      const none = () => parseScopeState(JSON.parse(FULL), major);
      expect(none).toThrow(expect.objectContaining({ code: 'STATE_CORRUPT' }));
    }
  });
});

const SOUND = fullScopeState();

/** The same value, made of parts of `sound` wherever it has equal ones, as a decision leaves it. */
function sharing(raw: unknown, sound: unknown): unknown {
  if (isDeepStrictEqual(raw, sound)) return sound;
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) return raw;
  const parts = sound as Readonly<Record<string, unknown>> | null | undefined;
  return Object.fromEntries(
    Object.entries(raw).map(([name, part]) => [name, sharing(part, parts?.[name])]),
  );
}

describe('faultOf', () => {
  it('finds nothing in a sound state, and names the place in another', () => {
    expect(faultOf(fullScopeState())).toBeNull();
    expect(faultOf(withSequence(emptyScopeState(), Number.NaN))).toMatch(/^hot.sequence: expected/);
  });

  it('looks at a part again only if it is another', () => {
    const before = fullScopeState();
    const starts = { a: [{ at: -1, unclean: false }] };
    const wrong = { ...before, cold: { ...before.cold, starts } };
    expect(faultOf(wrong, before)).toMatch(/^cold.starts.a.0.at: expected/);
    expect(faultOf({ ...wrong }, wrong)).toBeNull();
    expect(faultOf(withSequence(wrong, -1), wrong)).toMatch(/^hot.sequence: expected/);
  });

  it('finds whatever reading would refuse at the next start', () => {
    for (const { path } of PLACES) {
      const raw = changed(path, -1);
      const refused = corruptionOf(raw);
      expect(faultOf(raw as never) ?? 'nothing wrong').toBe(refused);
      expect(faultOf(sharing(raw, SOUND) as never, SOUND) ?? 'nothing wrong').toBe(refused);
    }
  });
});

/** What has names for keys. */
const KEYED = new Set([
  'amounts',
  'limits',
  'pools',
  'unsettled',
  'instances',
  'estimates',
  'starts',
  'organizations',
  'details',
  'guards',
]);

function valueAt(root: unknown, path: Path): unknown {
  let value = root;
  for (const name of path) value = (value as Record<string, unknown>)[name];
  return value;
}

describe('a document of an earlier minor version', () => {
  it('gets what it could not know yet', () => {
    const raw = JSON.parse(FULL) as { hot: { limits: { tokens: Record<string, unknown> } } };
    const { others: _, stated: __, ...before } = raw.hot.limits.tokens;
    raw.hot.limits.tokens = before;
    const { hot } = parseScopeState(raw);
    expect(hot.limits['tokens']).toMatchObject({ used: 12_345.5, others: 0, stated: null });
  });
});

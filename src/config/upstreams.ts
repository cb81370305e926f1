/**
 * From the settings and the file's `upstreams` to drafts: all values with their places, not yet
 * checked together.
 */
import { BOUNDS, type Unit } from '../state/scope-state.js';
import { join, readSection, refuseUnknownKeys, type Given, type Section } from './given.js';
import { apiOf, type KnownApi } from './known-hosts.js';
import type { Findings, Place } from './problem.js';
import { LIMIT_SETTINGS, SCOPE_SETTINGS, UPSTREAM_SETTINGS } from './file-settings.js';
import { SETTINGS } from './settings.js';
import type { FileMap } from './yaml-file.js';

export type Settings = Section<typeof SETTINGS>;

/** What an upstream is made of before its dialect, and what depends on that, is settled. */
interface RawUpstream extends Section<typeof UPSTREAM_SETTINGS> {
  /** Path in the file; empty for the upstream that the plain settings describe. */
  readonly path: string;
  readonly limits: readonly RawLimit[];
  readonly scopes: readonly RawScope[];
}

type RawLimit = Section<typeof LIMIT_SETTINGS>;

interface RawScope extends Section<typeof SCOPE_SETTINGS> {
  readonly place: Place;
  /** Null: the upstream's. */
  readonly limits: readonly RawLimit[] | null;
}

/** `listen` is null where it is not given, and there are several upstreams. */
export type UpstreamDraft = Settled<
  Omit<RawUpstream, 'limits' | 'scopes'>,
  'name' | keyof KnownApi
> & {
  readonly limits: readonly LimitDraft[];
  readonly scopes: readonly ScopeDraft[];
};

export type LimitDraft = Settled<RawLimit, 'name' | 'unit'>;

export type ScopeDraft = Omit<RawScope, 'limits'> & {
  readonly limits: readonly LimitDraft[] | null;
};

/** With a value for each of the keys, given or not. */
type Settled<Raw, Key extends keyof Raw> = Omit<Raw, Key> & {
  readonly [Name in Key]: Raw[Name] extends Given<infer Value> ? Given<NonNullable<Value>> : never;
};

/**
 * Settings of one upstream, which say nothing where the file lists several; and where the file
 * has them.
 */
const OF_ONE_UPSTREAM = {
  upstream: 'url',
  dialect: 'dialect',
  upstreamTimeout: 'timeout',
  listen: 'listen',
  budget: 'limits[0].budget',
  window: 'limits[0].window',
  windowKind: 'limits[0].kind',
} as const satisfies Partial<Record<keyof Settings, string>>;

/** At the top of the file they can't stand beside `upstreams`. */
export const SINGLE_KEYS = Object.keys(OF_ONE_UPSTREAM) as (keyof typeof OF_ONE_UPSTREAM)[];

export function readUpstreams(
  root: FileMap | null,
  settings: Settings,
  findings: Findings,
): readonly UpstreamDraft[] {
  const topKeys = [...Object.keys(SETTINGS), 'upstreams'];
  refuseUnknownKeys({ map: root, path: '', env: null }, topKeys, belongsElsewhere, findings);
  if (root === null || !root.entries.has('upstreams')) return [plainUpstream(settings)];

  refusePlainKeys(root, findings);
  const maps = readMaps(root, '', 'upstreams', BOUNDS.scopes, findings);
  const drafts = maps.map(({ map, path }) => readUpstream(map, path, findings));
  const [first] = drafts;
  if (drafts.length === 1 && first !== undefined) {
    return [settle(override(first, settings, findings))];
  }
  if (drafts.length > 1) refuseAmbiguousVariables(settings, drafts.length, findings);
  return drafts.map((draft) => settle(draft));
}

function plainUpstream(settings: Settings): UpstreamDraft {
  const place = { name: 'upstreams', at: null };
  const unset = { ok: true, value: null, place, from: 'default' } as const;
  const limit = {
    name: unset,
    unit: unset,
    window: settings.window,
    kind: settings.windowKind,
    budget: settings.budget,
    models: unset,
  };
  const draft = {
    path: '',
    name: unset,
    url: settings.upstream,
    dialect: settings.dialect,
    streamUsage: unset,
    cachedInput: unset,
    meteredPaths: unset,
    inputTokensAt: unset,
    outputTokensAt: unset,
    listen: settings.listen,
    timeout: settings.upstreamTimeout,
    fingerprintKey: unset,
    limits: [limit],
    scopes: [],
  };
  return settle(draft);
}

function readUpstream(map: FileMap, path: string, findings: Findings): RawUpstream {
  const source = { map, path, env: null };
  const keys = [...Object.keys(UPSTREAM_SETTINGS), 'limits', 'scopes'];
  refuseUnknownKeys(source, keys, belongsElsewhere, findings);
  const section = readSection(UPSTREAM_SETTINGS, source, findings);
  return {
    ...section,
    path,
    limits: readLimits(map, path, findings) ?? [readLimit(null, `${path}.limits[0]`, findings)],
    scopes: map.entries.has('scopes') ? readScopes(map, path, findings) : [],
  };
}

function readScopes(upstream: FileMap, path: string, findings: Findings): readonly RawScope[] {
  // One less than all, for the upstream's default scope.
  return readMaps(upstream, path, 'scopes', BOUNDS.scopes - 1, findings).map((scope) => {
    const source = { ...scope, env: null };
    const keys = [...Object.keys(SCOPE_SETTINGS), 'limits'];
    refuseUnknownKeys(source, keys, belongsElsewhere, findings);
    return {
      ...readSection(SCOPE_SETTINGS, source, findings),
      place: { name: scope.path, at: scope.map.at },
      limits: readLimits(scope.map, scope.path, findings),
    };
  });
}

function readLimits(map: FileMap, path: string, findings: Findings): readonly RawLimit[] | null {
  if (!map.entries.has('limits')) return null;
  return readMaps(map, path, 'limits', BOUNDS.limits, findings).map((limit) => {
    const source = { ...limit, env: null };
    refuseUnknownKeys(source, Object.keys(LIMIT_SETTINGS), belongsElsewhere, findings);
    return readLimit(limit.map, limit.path, findings);
  });
}

function readLimit(map: FileMap | null, path: string, findings: Findings): RawLimit {
  return readSection(LIMIT_SETTINGS, { map, path, env: null }, findings);
}

/**
 * The entries of a list of groups; reports a list that is none, is empty or has more than `most`.
 */
function readMaps(
  parent: FileMap,
  parentPath: string,
  key: string,
  most: number,
  findings: Findings,
): readonly { readonly map: FileMap; readonly path: string }[] {
  const entry = parent.entries.get(key);
  if (entry === undefined) return [];
  const path = join(parentPath, key);
  const place = { name: path, at: entry.at };
  const allowed = `a list of 1 to ${most} groups of settings, each beginning with "- "`;
  if (entry.node.kind !== 'list') {
    findings.problem(place, { message: 'is not a list', allowed });
    return [];
  }
  const { items } = entry.node;
  if (items.length === 0) findings.problem(place, { message: 'is an empty list', allowed });
  if (items.length > most) {
    findings.problem(place, { message: `has ${items.length} entries`, allowed });
  }
  return items.slice(0, most).flatMap((node, index) => {
    const itemPath = `${path}[${index}]`;
    if (node.kind === 'map') return [{ map: node, path: itemPath }];
    findings.problem(
      { name: itemPath, at: node.at },
      { message: 'is not a group of settings', allowed: 'lines of "key: value"' },
    );
    return [];
  });
}

/** The environment's settings of one upstream take the place of the only upstream's. */
function override(draft: RawUpstream, settings: Settings, findings: Findings): RawUpstream {
  const pick = <Value>(own: Given<Value>, plain: Given<Value>): Given<Value> => {
    if (plain.from !== 'environment') return own;
    if (own.from === 'file') findings.applied(plain.place, own.place);
    return plain;
  };
  const [limit] = draft.limits;
  if (draft.limits.length > 1) refuseAmbiguousLimit(draft, settings, findings);
  const listen = pick(draft.listen, settings.listen);
  return {
    ...draft,
    url: pick(draft.url, settings.upstream),
    dialect: pick(draft.dialect, settings.dialect),
    timeout: pick(draft.timeout, settings.upstreamTimeout),
    listen: listen.ok && listen.value === null ? settings.listen : listen,
    limits:
      draft.limits.length !== 1 || limit === undefined
        ? draft.limits
        : [
            {
              ...limit,
              budget: pick(limit.budget, settings.budget),
              window: pick(limit.window, settings.window),
              kind: pick(limit.kind, settings.windowKind),
            },
          ],
  };
}

function refuseAmbiguousLimit(draft: RawUpstream, settings: Settings, findings: Findings): void {
  for (const given of [settings.budget, settings.window, settings.windowKind]) {
    if (given.from !== 'environment') continue;
    findings.problem(given.place, {
      message: `does not say which of the ${draft.limits.length} limits in the file it is for`,
      allowed: `unset it, and change ${draft.path}.limits in the file`,
    });
  }
}

/** Beside `upstreams`, the file's own plain keys would be a second place for the same thing. */
function refusePlainKeys(root: FileMap, findings: Findings): void {
  for (const key of SINGLE_KEYS) {
    const entry = root.entries.get(key);
    if (entry === undefined) continue;
    findings.problem(
      { name: key, at: entry.at },
      {
        message: 'cannot stand beside "upstreams"',
        allowed: `inside the upstream it is for, as upstreams[0].${OF_ONE_UPSTREAM[key]}`,
      },
    );
  }
}

function refuseAmbiguousVariables(settings: Settings, count: number, findings: Findings): void {
  for (const key of SINGLE_KEYS) {
    const given = settings[key];
    if (given.from !== 'environment') continue;
    findings.problem(given.place, {
      message: `does not say which of the ${count} upstreams in the file it is for`,
      allowed: `unset it, and set it in the file, as upstreams[0].${OF_ONE_UPSTREAM[key]}`,
    });
  }
}

/** What was not given follows from the host, the dialect from it, and all else from the dialect. */
function settle(draft: RawUpstream): UpstreamDraft {
  const { url } = draft;
  const api = url.ok ? apiOf(url.value.hostname) : null;
  const dialect = fallTo(draft.dialect, api?.dialect);
  const settled = {
    ...draft,
    dialect,
    name: withDefault(draft.name, dialect),
    streamUsage: fallTo(draft.streamUsage, api?.streamUsage),
    cachedInput: fallTo(draft.cachedInput, api?.cachedInput),
  };
  // Of an API that states no tokens, requests are all that can be counted.
  const unit = readsTokens(settled) ? 'tokens' : 'requests';
  const withUnits = (limit: RawLimit) => withUnit(limit, unit);
  return {
    ...settled,
    limits: draft.limits.map(withUnits),
    scopes: draft.scopes.map((scope) => ({
      ...scope,
      limits: scope.limits?.map(withUnits) ?? null,
    })),
  };
}

/** Whether anything tells what a request costs in tokens; true where that is not known yet. */
export function readsTokens({
  dialect,
  inputTokensAt,
  outputTokensAt,
}: Pick<UpstreamDraft, 'dialect' | 'inputTokensAt' | 'outputTokensAt'>): boolean {
  if (!dialect.ok || dialect.value !== 'generic') return true;
  return [inputTokensAt, outputTokensAt].some((at) => !at.ok || at.value !== null);
}

function withUnit(limit: RawLimit, usual: Unit): LimitDraft {
  const unit = fallTo(limit.unit, usual);
  return { ...limit, unit, name: withDefault(limit.name, unit) };
}

/** `fallback` in the place of what was not given; undefined if it can't be known. */
function fallTo<Value>(given: Given<Value | null>, fallback: Value | undefined): Given<Value> {
  if (!given.ok) return given;
  const { place, from, value } = given;
  if (value !== null) return { ok: true, value, place, from };
  return fallback === undefined
    ? { ok: false, place, from }
    : { ok: true, value: fallback, place, from };
}

/** The fallback's value under the place of the given one, if nothing was given. */
function withDefault(given: Given<string | null>, fallback: Given<string>): Given<string> {
  return fallTo(given, fallback.ok ? fallback.value : undefined);
}

/** Where a key that is unknown here is at home: `in an entry of "limits"`. */
function belongsElsewhere(key: string): string | null {
  if (Object.hasOwn(UPSTREAM_SETTINGS, key) || key === 'limits' || key === 'scopes') {
    return 'in an entry of "upstreams"';
  }
  if (Object.hasOwn(LIMIT_SETTINGS, key)) return 'in an entry of "limits"';
  if (Object.hasOwn(SCOPE_SETTINGS, key)) return 'in an entry of "scopes"';
  return Object.hasOwn(SETTINGS, key) ? 'at the top of the file' : null;
}

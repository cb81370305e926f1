import { suggest } from './suggest.js';
import type { FileMap, FileNode } from './yaml-file.js';
import { expected, type Parsed, type Parser, wrong } from './parse.js';
import type { Findings, Place } from './problem.js';
import type { Setting } from './settings.js';

/**
 * A setting as it was found. One that could not be parsed is kept as such, and checks pass over
 * it.
 */
export type Given<Value> =
  | { readonly ok: true; readonly value: Value; readonly place: Place; readonly from: Origin }
  | { readonly ok: false; readonly place: Place; readonly from: Origin };

export type Origin = 'default' | 'file' | 'environment';

export type Environment = Readonly<Record<string, string | undefined>>;

type ValueOf<S> = S extends { readonly parser: Parser<infer Value> }
  ? S extends { readonly absent: { readonly means: string } }
    ? Value | null
    : Value
  : never;

/** What `readSection` makes of a table of settings. */
export type Section<Table> = { readonly [Key in keyof Table]: Given<ValueOf<Table[Key]>> };

export interface Source {
  /** Null if there is no file. */
  readonly map: FileMap | null;
  /** Of the map in the file: `upstreams[0]`; empty at the top. */
  readonly path: string;
  /** Where the settings of this table may be overridden; null in the nested ones. */
  readonly env: Environment | null;
}

/** Reads every setting of a table; problems go to `findings`. */
export function readSection<Table extends Readonly<Record<string, Setting>>>(
  table: Table,
  source: Source,
  findings: Findings,
): Section<Table> {
  const section: Record<string, Given<unknown>> = {};
  for (const [key, setting] of Object.entries(table)) {
    section[key] = readSetting(key, setting, source, findings);
  }
  // TypeScript can't see that the loop visits each key with its own setting.
  return section as unknown as Section<Table>;
}

function readSetting(
  key: string,
  setting: Setting,
  source: Source,
  findings: Findings,
): Given<unknown> {
  const entry = source.map?.entries.get(key);
  // In a group, the group's line is the best place for what is not there.
  const around = source.path === '' ? null : (source.map?.at ?? null);
  const filePlace: Place = { name: join(source.path, key), at: entry?.at ?? around };
  // A mistake in the file is reported even where the environment overrides it.
  const fromFile =
    entry === undefined
      ? null
      : readText(setting, textOf(entry.node), { place: filePlace, from: 'file' }, findings);
  const fromEnv = readVariable(setting, source.env, findings);
  if (fromEnv !== null) {
    findings.applied(fromEnv.place, fromFile === null ? null : filePlace);
    return fromEnv;
  }
  if (fromFile !== null) {
    findings.applied(filePlace, null);
    return fromFile;
  }
  const place =
    setting.env === null || source.env === null ? filePlace : { name: setting.env, at: null };
  if ('means' in setting.absent) return { ok: true, value: null, place, from: 'default' };
  if ('text' in setting.absent) {
    return readText(setting, setting.absent.text, { place, from: 'default' }, findings);
  }
  findings.problem(place, { message: 'is missing', ...expected(setting.parser) });
  return { ok: false, place, from: 'default' };
}

/**
 * An empty variable counts as not set: that is what `${TIDEGATE_BUDGET:-}` in a compose file and a bare
 * `TIDEGATE_BUDGET=` in an EnvironmentFile mean.
 */
export function readVariable(
  setting: Setting,
  env: Environment | null,
  findings: Findings,
): Given<unknown> | null {
  const text = setting.env === null ? undefined : env?.[setting.env]?.trim();
  if (setting.env === null || text === undefined || text === '') return null;
  const place = { name: setting.env, at: null };
  return readText(setting, text, { place, from: 'environment' }, findings);
}

function readText(
  setting: Setting,
  text: string | { readonly notText: string },
  origin: { readonly place: Place; readonly from: Origin },
  findings: Findings,
): Given<unknown> {
  const result =
    typeof text !== 'string'
      ? { ok: false as const, message: text.notText, given: null }
      : { given: text, ...withoutQuotes(text, setting.parser.parse(text)) };
  if (result.ok) return { ok: true, value: result.value, ...origin };
  const hidden = setting.secret === true && result.given !== null;
  findings.problem(origin.place, {
    given: hidden ? null : result.given,
    message: hidden ? `the value (not shown) ${result.message}` : result.message,
    ...expected(setting.parser),
  });
  return { ok: false, ...origin };
}

/** Docker's env files keep the quotes that a shell takes away, and no other mistake is worth telling then. */
function withoutQuotes(text: string, parsed: Parsed<unknown>): Parsed<unknown> {
  if (parsed.ok || !/^(["']).*\1$/s.test(text)) return parsed;
  return wrong('has quotes around it, which are a part of it here; leave them out');
}

/** A list of plain values is the same as the values between commas: `backoff: [30s, 60s]`. */
function textOf(node: FileNode): string | { readonly notText: string } {
  if (node.kind === 'text') {
    return node.text.trim() === '' ? { notText: 'has no value' } : node.text.trim();
  }
  if (node.kind === 'map') return { notText: 'is a group of settings, not a value' };
  const items = node.items.map((item) => (item.kind === 'text' ? item.text.trim() : null));
  if (items.includes(null)) return { notText: 'is a list of groups, not a value' };
  return items.length === 0 ? { notText: 'is an empty list' } : items.join(',');
}

/** Reports keys that are not `known` here; `elsewhere` says where one is at home, or null. */
export function refuseUnknownKeys(
  source: Source,
  known: readonly string[],
  elsewhere: (key: string) => string | null,
  findings: Findings,
): void {
  for (const [key, { at }] of source.map?.entries ?? []) {
    if (known.includes(key)) continue;
    const near = suggest(key, known);
    const belongs = elsewhere(key);
    const hint =
      belongs !== null
        ? `; it belongs ${belongs}`
        : near !== null
          ? `; did you mean "${near}"?`
          : '';
    findings.problem(
      { name: join(source.path, key), at },
      { message: `is not a setting here${hint}`, allowed: known.join(', ') },
    );
  }
}

export function join(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`;
}

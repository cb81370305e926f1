import { readSection, refuseUnknownKeys, type Given, type Section } from '../config/given.js';
import { Findings, type Problem } from '../config/problem.js';
import type { Setting } from '../config/settings.js';
import { readYaml, type FileMap, type FileNode } from '../config/yaml-file.js';
import { readTrace } from './trace.js';
import {
  CLOCK_SETTINGS,
  DEMAND_SETTINGS,
  GOVERNOR_WORLD_SETTINGS,
  LIMIT_CHANGE_SETTINGS,
  LOAD_CHANGE_SETTINGS,
  RESTART_SETTINGS,
  SECONDS_SETTINGS,
  TOKENS_SETTINGS,
  UPSTREAM_WORLD_SETTINGS,
  WORLD_SETTINGS,
} from './world-settings.js';
import type { World } from './world.js';

export type ReadWorld =
  | { readonly ok: true; readonly world: World }
  | { readonly ok: false; readonly problems: readonly Problem[] };

/** What a world file names, as text. Throws if it can't be read. */
export type ReadFile = (path: string) => string;

/** More entries in one list of a world than anybody wants to describe by hand. */
const MOST_ENTRIES = 1_000;

type Table = Readonly<Record<string, Setting>>;

/** What stands in the place of a section with mistakes: nobody will use it. */
type Values<T> = { readonly [Key in keyof T]: T[Key] extends Given<infer Value> ? Value : never };

/** Reads a world, in JSON or YAML, or reports every mistake in it. `file` is its name, for messages. */
export function readWorld(text: string, file: string, readFile: ReadFile): ReadWorld {
  const findings = new Findings();
  const root = readYaml(text, file, findings);
  if (root === null && findings.problems.length === 0) {
    findings.problem({ name: file, at: null }, { message: 'is empty', allowed: 'a world' });
  }
  if (root === null) return { ok: false, problems: findings.problems };
  const world = new WorldReader(findings, readFile).read(root);
  if (findings.problems.length > 0) return { ok: false, problems: findings.problems };
  return { ok: true, world };
}

class WorldReader {
  constructor(
    private readonly findings: Findings,
    private readonly readFile: ReadFile,
  ) {}

  read(root: FileMap): World {
    const groups = ['upstream', 'governor', 'demand', 'restarts', 'clock'];
    const world = this.#section(WORLD_SETTINGS, root, '', groups);
    const upstreamMap = this.#group(root, '', 'upstream');
    const upstream = this.#section(UPSTREAM_WORLD_SETTINGS, upstreamMap, 'upstream', ['changes']);
    const governorMap = this.#group(root, '', 'governor');
    const governor = this.#section(GOVERNOR_WORLD_SETTINGS, governorMap, 'governor', []);
    return {
      ...world,
      upstream: {
        ...upstream,
        windowMs: upstream.window,
        changes: this.#list(LIMIT_CHANGE_SETTINGS, upstreamMap, 'upstream', 'changes').map(
          ({ at, limit }) => ({ atMs: at, limit }),
        ),
      },
      governor: {
        budget: governor.budget,
        windowMs: governor.window ?? upstream.window,
        windowKind: governor.windowKind ?? upstream.kind,
        ladderMs: governor.backoff,
        probeEveryMs: governor.probeEvery,
        tickMs: governor.tick,
        nudge: governor.nudge,
        nudgeEveryMs: governor.nudgeEvery,
        minTrafficMs: governor.minTraffic,
        minUsed: governor.minUsed,
      },
      demand: this.#demand(this.#group(root, '', 'demand')),
      restarts: this.#list(RESTART_SETTINGS, root, '', 'restarts').map(
        ({ at, every, count, kind }) => ({ atMs: at, everyMs: every, count, kind }),
      ),
      clock: this.#list(CLOCK_SETTINGS, root, '', 'clock').map(({ at, step }) => ({
        atMs: at,
        stepMs: step,
      })),
    };
  }

  #demand(map: FileMap | null): World['demand'] {
    const groups = ['tokens', 'seconds', 'changes'];
    const demand = this.#section(DEMAND_SETTINGS, map, 'demand', groups);
    const tokensMap = this.#group(map, 'demand', 'tokens');
    const secondsMap = this.#group(map, 'demand', 'seconds');
    const tokens = this.#section(TOKENS_SETTINGS, tokensMap, 'demand.tokens', []);
    const seconds = this.#section(SECONDS_SETTINGS, secondsMap, 'demand.seconds', []);
    this.#ascending('demand.tokens', tokensMap, [tokens.median, tokens.p90, tokens.p99]);
    this.#ascending('demand.seconds', secondsMap, [seconds.median, seconds.p95]);
    return {
      load: demand.load,
      sessions: demand.sessions,
      retries: demand.retries,
      tokens,
      seconds,
      changes: this.#list(LOAD_CHANGE_SETTINGS, map, 'demand', 'changes').map(({ at, load }) => ({
        atMs: at,
        load,
      })),
      trace: this.#trace(demand.trace, map),
    };
  }

  #trace(path: string | null, map: FileMap | null): World['demand']['trace'] {
    if (path === null) return null;
    const place = { name: 'demand.trace', at: map?.entries.get('trace')?.at ?? null };
    const allowed = 'lines of {"session", "t", "model", "input", "cacheRead", "output", "seconds"}';
    const read = readTrace(path, this.readFile);
    if (read.ok) return read.sessions;
    this.findings.problem(place, { given: path, message: read.message, allowed });
    return null;
  }

  #ascending(path: string, map: FileMap | null, values: readonly number[]): void {
    if (values.every((value, index) => index === 0 || value >= (values[index - 1] ?? 0))) return;
    this.findings.problem(
      { name: path, at: map?.at ?? null },
      { message: 'does not ascend', allowed: 'each quantile at least the one before' },
    );
  }

  #section<T extends Table>(
    table: T,
    map: FileMap | null,
    path: string,
    groups: readonly string[],
  ): Values<Section<T>> {
    const source = { map: map === null ? null : withoutNulls(map), path, env: null };
    refuseUnknownKeys(source, [...Object.keys(table), ...groups], () => null, this.findings);
    const section = readSection(table, source, this.findings);
    const values: Record<string, unknown> = {};
    for (const [key, given] of Object.entries<Given<unknown>>(section)) {
      // What could not be read has a problem noted, and so the world is never run.
      values[key] = given.ok ? given.value : 1;
    }
    return values as Values<Section<T>>;
  }

  #group(parent: FileMap | null, path: string, key: string): FileMap | null {
    const entry = parent?.entries.get(key);
    if (entry === undefined || isNull(entry.node)) return null;
    if (entry.node.kind === 'map') return entry.node;
    this.findings.problem(
      { name: path === '' ? key : `${path}.${key}`, at: entry.at },
      { message: 'is not a group of settings', allowed: '{ … }, or lines of "key: value"' },
    );
    return null;
  }

  #list<T extends Table>(
    table: T,
    parent: FileMap | null,
    path: string,
    key: string,
  ): readonly Values<Section<T>>[] {
    const entry = parent?.entries.get(key);
    if (entry === undefined || isNull(entry.node)) return [];
    const name = path === '' ? key : `${path}.${key}`;
    const items = entry.node.kind === 'list' ? entry.node.items : null;
    if (items === null || items.length > MOST_ENTRIES) {
      this.findings.problem(
        { name, at: entry.at },
        {
          message: items === null ? 'is not a list' : `has ${items.length} entries`,
          allowed: `a list of at most ${MOST_ENTRIES} groups of settings`,
        },
      );
      return [];
    }
    return items.map((node, index) => {
      const itemPath = `${name}[${index}]`;
      if (node.kind === 'map') return this.#section(table, node, itemPath, []);
      this.findings.problem(
        { name: itemPath, at: node.at },
        { message: 'is not a group of settings', allowed: '{ … }, or lines of "key: value"' },
      );
      return this.#section(table, null, itemPath, []);
    });
  }
}

/** JSON's way to say that something is not given. */
function isNull(node: FileNode): boolean {
  return node.kind === 'text' && node.text === 'null';
}

function withoutNulls(map: FileMap): FileMap {
  return { ...map, entries: new Map([...map.entries].filter(([, { node }]) => !isNull(node))) };
}

import { resolve } from 'node:path';
import type { LimitRules } from '../budget/settings.js';
import { invariant } from '../platform/invariant.js';
import { checkTogether } from './checks.js';
import type {
  Config,
  ListenAddress,
  MatchedScopeConfig,
  ScopeMatch,
  UpstreamConfig,
} from './config.js';
import { wrongPlace, type Machine } from './machine.js';
import { readSection, readVariable, type Environment, type Given } from './given.js';
import { type OutboundProxies, proxyFor, readOutboundProxies } from './outbound-proxy.js';
import { expected } from './parse.js';
import { Findings, type Problem } from './problem.js';
import { CONFIG_FILE, SETTINGS } from './settings.js';
import { suggest } from './suggest.js';
import {
  readUpstreams,
  type LimitDraft,
  type ScopeDraft,
  type Settings,
  type UpstreamDraft,
} from './upstreams.js';
import { resolveStore, STATE_STORE, storeName } from './state-store.js';
import { readYaml, type FileMap } from './yaml-file.js';

export type LoadResult =
  | {
      readonly ok: true;
      /** Frozen all through; only a `URL` can't be. */
      readonly config: Config;
      readonly warnings: readonly string[];
      /** What the operator set, by name; all else is default. */
      readonly set: readonly string[];
    }
  | {
      readonly ok: false;
      readonly problems: readonly Problem[];
      readonly warnings: readonly string[];
    };

/**
 * Everything Tidegate is told, checked: the environment over the file of TIDEGATE_CONFIG over the
 * defaults. Never throws for anything in them; all mistakes come back at once.
 */
export function loadConfig(env: Environment, cwd: string, machine: Machine): LoadResult {
  const findings = new Findings();
  const { warnings, problems } = findings;
  warnOfUnknownVariables(env, findings);
  const root = readFile(env, cwd, machine, findings);
  const settings = readSection(SETTINGS, { map: root, path: '', env }, findings);
  const upstreams = readUpstreams(root, settings, findings);
  checkTogether(settings, upstreams, findings);
  checkStore(settings, cwd, machine, findings);
  const proxies = readOutboundProxies(env, findings);
  if (problems.length > 0) return { ok: false, problems, warnings };
  const surroundings = { cwd, hostname: machine.hostname, proxies };
  const config = deepFreeze(build(settings, upstreams, surroundings));
  return { ok: true, config, warnings, set: findings.set };
}

function readFile(
  env: Environment,
  cwd: string,
  machine: Machine,
  findings: Findings,
): FileMap | null {
  const given = readVariable(CONFIG_FILE, env, findings);
  if (given === null || !given.ok || typeof given.value !== 'string') return null;
  findings.applied(given.place, null);
  const path = resolve(cwd, given.value);
  let text: string;
  try {
    text = machine.readFile(path);
  } catch (error) {
    findings.problem(given.place, {
      given: given.value,
      message: `cannot be read: ${reason(error)} (${path})`,
      ...expected(CONFIG_FILE.parser),
    });
    return null;
  }
  return readYaml(text, given.value, findings);
}

function checkStore({ state }: Settings, cwd: string, machine: Machine, findings: Findings): void {
  if (!state.ok) return;
  const store = resolveStore(state.value, cwd);
  const message = wrongPlace(store, machine);
  if (message === null) return;
  findings.problem(state.place, { given: storeName(store), message, ...expected(STATE_STORE) });
}

function reason(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'ENOENT') return 'there is no such file';
  if (code === 'EACCES') return 'this user may not read it';
  if (code === 'EISDIR') return 'it is a directory';
  return error instanceof Error ? error.message : 'unknown reason';
}

const PREFIX = 'TIDEGATE_';

/** A warning only: an image or a platform may set what this version does not know. */
function warnOfUnknownVariables(env: Environment, findings: Findings): void {
  const known = [CONFIG_FILE.env, ...Object.values(SETTINGS).map((setting) => setting.env)];
  for (const name of Object.keys(env).sort()) {
    if (!name.startsWith(PREFIX) || known.some((variable) => variable === name)) continue;
    if (name.startsWith('TIDEGATE_TEST_') || isServiceLink(name, env[name] ?? '')) continue;
    const words = known.map((variable) => variable.slice(PREFIX.length));
    const near = suggest(name.slice(PREFIX.length), words);
    const hint =
      near === null
        ? ' All there are: docs/reference/configuration.md.'
        : ` Did you mean ${PREFIX}${near}?`;
    findings.warn(`${name}: is not a setting of this version and has no effect.${hint}`);
  }
}

/** Kubernetes describes a Service named `tidegate` to every pod in variables like these. */
function isServiceLink(name: string, value: string): boolean {
  if (/_SERVICE_(HOST|PORT)(_[A-Z0-9_]+)?$/.test(name)) return true;
  if (/_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$/.test(name)) return true;
  return name.endsWith('_PORT') && /^(tcp|udp|sctp):\/\//.test(value);
}

interface Surroundings {
  readonly cwd: string;
  readonly hostname: string;
  readonly proxies: OutboundProxies;
}

function build(
  settings: Settings,
  drafts: readonly UpstreamDraft[],
  { cwd, hostname, proxies }: Surroundings,
): Config {
  const upstreams = drafts.map((draft) => buildUpstream(draft, proxies));
  const proxy = upstreams[0];
  const accessLog = valueOf(settings.accessLog);
  invariant(proxy !== undefined, 'a configuration without problems has an upstream');
  return {
    instance: valueOf(settings.instance) ?? defaultInstance(hostname, proxy.listen),
    upstreams,
    admin: { listen: valueOf(settings.adminListen), token: valueOf(settings.adminToken) },
    state: resolveStore(valueOf(settings.state), cwd),
    loss: { onCorrupt: valueOf(settings.onCorruptState), onEmpty: valueOf(settings.onEmptyState) },
    mode: valueOf(settings.mode),
    backoff: {
      ladderMs: valueOf(settings.backoff),
      probeEveryMs: valueOf(settings.probeEvery),
    },
    controller: {
      nudge: valueOf(settings.nudge),
      nudgeEveryMs: valueOf(settings.nudgeEvery),
      minTrafficMs: valueOf(settings.minTraffic),
      minUsed: valueOf(settings.minUsed),
    },
    maxRetryAfterMs: valueOf(settings.maxRetryAfter),
    tickMs: valueOf(settings.tick),
    accessLog: accessLog && resolve(cwd, accessLog),
    drainMs: valueOf(settings.drain),
  };
}

/** The host's name may hold what an instance's must not. */
function defaultInstance(hostname: string, { port }: ListenAddress): string {
  const host = hostname
    .replace(/[^\w.-]/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, 100);
  return `${host === '' ? 'host' : host}:${port}`;
}

function buildUpstream(draft: UpstreamDraft, proxies: OutboundProxies): UpstreamConfig {
  const url = valueOf(draft.url);
  const name = valueOf(draft.name);
  const limits = draft.limits.map(buildLimit);
  const listen = valueOf(draft.listen);
  invariant(listen !== null, 'an upstream without problems has a listener');
  return {
    name,
    url,
    proxy: proxyFor(url, proxies),
    dialect: valueOf(draft.dialect),
    streamUsage: valueOf(draft.streamUsage),
    cachedInput: valueOf(draft.cachedInput),
    meteredPaths: valueOf(draft.meteredPaths) ?? [],
    inputTokensAt: valueOf(draft.inputTokensAt),
    outputTokensAt: valueOf(draft.outputTokensAt),
    listen,
    timeoutMs: valueOf(draft.timeout),
    fingerprintKey: valueOf(draft.fingerprintKey),
    defaultScope: { name, limits },
    scopes: draft.scopes.map((scope): MatchedScopeConfig => {
      return {
        name: `${name}/${valueOf(scope.name)}`,
        limits: scope.limits?.map(buildLimit) ?? limits,
        match: buildMatch(scope),
      };
    }),
  };
}

function buildMatch(scope: ScopeDraft): ScopeMatch {
  const fingerprint = valueOf(scope.keyFingerprint);
  if (fingerprint !== null) return { by: 'key', fingerprint };
  const id = valueOf(scope.organization);
  if (id !== null) return { by: 'organization', id };
  const header = valueOf(scope.header);
  const value = valueOf(scope.value);
  invariant(header !== null && value !== null, 'a scope without problems has a match');
  return { by: 'header', header, value };
}

function buildLimit(draft: LimitDraft): LimitRules {
  return {
    name: valueOf(draft.name),
    unit: valueOf(draft.unit),
    kind: valueOf(draft.kind),
    windowMs: valueOf(draft.window),
    models: valueOf(draft.models),
    budget: valueOf(draft.budget),
  };
}

function valueOf<Value>(given: Given<Value>): Value {
  invariant(given.ok, `a value at ${given.place.name} was not readable, and no problem was noted`);
  return given.value;
}

function deepFreeze<Value>(value: Value): Value {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const part of Object.values(value)) deepFreeze(part);
  }
  return value;
}

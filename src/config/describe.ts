import type { LimitRules } from '../budget/settings.js';
import type { Config, MatchedScopeConfig, ScopeMatch, UpstreamConfig } from './config.js';
import { formatAddress, formatCount, formatDuration, formatPercent, hrefOf } from './format.js';
import { proxyName } from './outbound-proxy.js';
import { storeName } from './state-store.js';

/** The effective configuration for people. Holds no secret; ends with a line break. */
export function describeConfig(config: Config): string {
  const rows = [
    ...config.upstreams.flatMap(describeUpstream),
    row(0, 'control plane', describeAdmin(config)),
    row(0, 'state', storeName(config.state)),
    row(1, 'if unreadable', config.loss.onCorrupt),
    row(1, 'if empty', config.loss.onEmpty),
    row(0, 'mode', config.mode === 'observe' ? 'observe: nothing is refused' : 'enforce'),
    row(0, 'backoff', config.backoff.ladderMs.map(formatDuration).join(', ')),
    row(1, 'probe', describeProbe(config.backoff.probeEveryMs)),
    row(1, 'retry-after', `at most ${formatDuration(config.maxRetryAfterMs)}`),
    row(0, 'controller', describeController(config)),
    row(0, 'job', `every ${formatDuration(config.tickMs)}`),
    ...(config.accessLog === null ? [] : [row(0, 'access log', config.accessLog)]),
    row(0, 'drain', `${formatDuration(config.drainMs)} after SIGTERM`),
    row(0, 'instance', config.instance),
  ];
  return `${rows.join('\n')}\n`;
}

const VALUE_COLUMN = 18;

function row(depth: number, label: string, value: string): string {
  return `${'  '.repeat(depth)}${label}`.padEnd(VALUE_COLUMN) + value;
}

function describeUpstream(upstream: UpstreamConfig): readonly string[] {
  const { name, defaultScope, scopes } = upstream;
  const others = scopes.length === 0 ? '' : ' that no other scope takes';
  return [
    row(0, 'upstream', name),
    row(1, 'proxy', `http://${formatAddress(upstream.listen)} -> ${hrefOf(upstream.url)}`),
    ...(upstream.proxy === null
      ? []
      : [row(1, 'through', `the proxy ${proxyName(upstream.proxy)}`)]),
    row(1, 'dialect', describeDialect(upstream)),
    row(1, 'answer within', formatDuration(upstream.timeoutMs)),
    ...scopes.flatMap((scope) => describeScope(scope, describeMatch(scope.match))),
    ...describeScope(defaultScope, `every request${others}`),
  ];
}

/** With what it was told about its API, where it has to be told. */
function describeDialect(upstream: UpstreamConfig): string {
  const { dialect, streamUsage, cachedInput, meteredPaths, inputTokensAt, outputTokensAt } =
    upstream;
  if (dialect === 'openai') {
    const asked = streamUsage === 'ask' ? 'asks streams for their usage' : 'leaves streams alone';
    return `openai: ${asked}, cached input is ${cachedInput}`;
  }
  if (dialect === 'anthropic') return dialect;
  const paths = meteredPaths.length === 0 ? 'every path' : meteredPaths.join(', ');
  const tokens = [inputTokensAt, outputTokensAt].filter((at) => at !== null).join(' and ');
  return `generic: meters ${paths}${tokens === '' ? '' : `, tokens at ${tokens}`}`;
}

function describeScope(
  scope: Pick<MatchedScopeConfig, 'name' | 'limits'>,
  requests: string,
): readonly string[] {
  return [
    row(1, 'scope', `${scope.name}: ${requests}`),
    ...scope.limits.map((limit) => row(2, 'limit', `${limit.name}: ${describeLimit(limit)}`)),
  ];
}

function describeLimit({ unit, kind, windowMs, models, budget }: LimitRules): string {
  const pool = models === null ? '' : `, of ${models.join(', ')} only`;
  const window = `a ${kind} window of ${formatDuration(windowMs)}${pool}`;
  return budget === null
    ? `learns how many ${unit} fit into ${window}`
    : `${formatCount(budget)} ${unit} in ${window}`;
}

function describeMatch(match: ScopeMatch): string {
  switch (match.by) {
    case 'key':
      return `the key with fingerprint ${match.fingerprint}`;
    case 'organization':
      return `keys of organization ${match.id}`;
    case 'header':
      return `header ${match.header}: ${shownValue(match)}`;
  }
}

/**
 * Names under which people send secrets, although a scope is meant to match on something public.
 */
const SOUNDS_SECRET = /key|token|secret|auth|cookie|session|pass|credential/;

function shownValue(match: Extract<ScopeMatch, { by: 'header' }>): string {
  return SOUNDS_SECRET.test(match.header) ? HIDDEN : match.value;
}

function describeAdmin({ admin }: Config): string {
  const guard = admin.token === null ? 'no token' : 'token needed';
  return `http://${formatAddress(admin.listen)}, ${guard}`;
}

function describeProbe(probeEveryMs: number): string {
  return probeEveryMs === 0
    ? 'only when a cooldown ends'
    : `every ${formatDuration(probeEveryMs)} during what lasts longer than that`;
}

function describeController({ controller }: Config): string {
  const { nudge, nudgeEveryMs, minTrafficMs, minUsed } = controller;
  return (
    `+${formatPercent(nudge)} at most every ${formatDuration(nudgeEveryMs)}, once traffic began ` +
    `${formatDuration(minTrafficMs)} ago and ${formatPercent(minUsed)} of the budget is used`
  );
}

const HIDDEN = '(hidden)';

/** The configuration as data for `check-config --json`: times in ms, secrets as `(hidden)`. */
export function publicConfig(config: Config): Readonly<Record<string, unknown>> {
  const hide = (secret: string | null): string | null => (secret === null ? null : HIDDEN);
  return {
    ...config,
    admin: { ...config.admin, token: hide(config.admin.token) },
    state:
      config.state.kind === 'postgres'
        ? { ...config.state, url: storeName(config.state) }
        : config.state,
    upstreams: config.upstreams.map((upstream) => ({
      ...upstream,
      url: hrefOf(upstream.url),
      proxy: upstream.proxy && proxyName(upstream.proxy),
      fingerprintKey: hide(upstream.fingerprintKey),
      scopes: upstream.scopes.map((scope) => ({
        ...scope,
        match:
          scope.match.by === 'header'
            ? { ...scope.match, value: shownValue(scope.match) }
            : scope.match,
      })),
    })),
  };
}

/**
 * What no setting can tell by itself: rules between settings. Values that were not readable are
 * passed over.
 */
import { BOUNDS } from '../state/scope-state.js';
import { clash, isLoopback, leadsTo } from './addresses.js';
import { checkApi } from './checks-api.js';
import type { ListenAddress } from './config.js';
import { formatAddress, formatDuration } from './format.js';
import type { Given } from './given.js';
import { LONGEST_NAME } from './parse.js';
import { formatPlace, type Findings, type Place } from './problem.js';
import { oddParameters } from './state-store.js';
import type { LimitDraft, Settings, UpstreamDraft } from './upstreams.js';

export function checkTogether(
  settings: Settings,
  upstreams: readonly UpstreamDraft[],
  findings: Findings,
): void {
  checkListeners(settings, upstreams, findings);
  checkLoops(settings, upstreams, findings);
  checkAdminToken(settings, findings);
  checkScopes(upstreams, findings);
  for (const upstream of upstreams) {
    checkLimitNames(upstream.limits, findings);
    for (const { limits } of upstream.scopes)
      if (limits !== null) checkLimitNames(limits, findings);
    checkMatches(upstream, findings);
    checkApi(upstream, findings);
  }
  warnOfOddities(settings, upstreams, findings);
}

function checkListeners(
  settings: Settings,
  upstreams: readonly UpstreamDraft[],
  findings: Findings,
): void {
  const seen: { readonly address: ListenAddress; readonly place: Place }[] = [];
  for (const given of [...upstreams.map(({ listen }) => listen), settings.adminListen]) {
    if (!given.ok) continue;
    if (given.value === null) {
      findings.problem(given.place, {
        message: 'is missing; with several upstreams each needs a listener of its own',
        allowed: 'host:port',
        example: '127.0.0.1:8789',
      });
      continue;
    }
    const address = given.value;
    const other = seen.find((earlier) => clash(earlier.address, address));
    if (other !== undefined) {
      findings.problem(given.place, {
        given: formatAddress(address),
        message: `${given.from === 'default' ? '(the default) ' : ''}clashes with ${formatPlace(other.place)}, which is ${formatAddress(other.address)}`,
        allowed: 'a port of its own for every listener',
      });
    }
    seen.push({ address, place: given.place });
  }
}

/** A request that Tidegate forwards to itself would go round until something breaks. */
function checkLoops(
  settings: Settings,
  upstreams: readonly UpstreamDraft[],
  findings: Findings,
): void {
  const listeners = [...upstreams.map(({ listen }) => listen), settings.adminListen];
  for (const { url } of upstreams) {
    if (!url.ok) continue;
    const own = listeners.find(
      (listen) => listen.ok && listen.value !== null && leadsTo(url.value, listen.value),
    );
    if (own === undefined) continue;
    findings.problem(url.place, {
      given: url.value.href,
      message: `leads back to Tidegate itself (${formatPlace(own.place)})`,
      allowed: 'the URL of the API',
      example: 'https://api.anthropic.com',
    });
  }
}

function checkAdminToken({ adminListen, adminToken }: Settings, findings: Findings): void {
  if (!adminListen.ok || !adminToken.ok || adminToken.value !== null) return;
  if (isLoopback(adminListen.value.host)) return;
  findings.problem(adminListen.place, {
    given: formatAddress(adminListen.value),
    message:
      `can be reached from other machines, and ${adminToken.place.name} is not set: ` +
      'an open control plane lets anyone clear cooldowns and reset budgets',
    allowed: `a loopback address; or any other together with ${adminToken.place.name}`,
    example: '127.0.0.1:8788',
  });
}

/** All scopes share one namespace in the state. */
function checkScopes(upstreams: readonly UpstreamDraft[], findings: Findings): void {
  const taken = new Map<string, Place>();
  let scopes = 0;
  for (const { name, path, scopes: matched } of upstreams) {
    scopes += 1 + matched.length;
    if (name.ok) claim(taken, name.value, name.place, findings);
    for (const { name: own } of matched) {
      if (!own.ok) continue;
      // No name has a bracket, so a path in its place clashes with none.
      const full = `${name.ok ? name.value : path}/${own.value}`;
      if (name.ok && full.length > LONGEST_NAME) {
        findings.problem(own.place, {
          given: full,
          message: `is ${full.length} characters long together with its upstream's name`,
          allowed: `${LONGEST_NAME} characters for both and the "/" between them`,
        });
      }
      claim(taken, full, own.place, findings);
    }
  }
  if (scopes <= BOUNDS.scopes) return;
  findings.problem(
    { name: 'upstreams', at: null },
    {
      message: `come to ${scopes} scopes, each upstream's default scope included`,
      allowed: `${BOUNDS.scopes} scopes in all`,
    },
  );
}

function checkLimitNames(limits: readonly LimitDraft[], findings: Findings): void {
  const taken = new Map<string, Place>();
  for (const { name } of limits) if (name.ok) claim(taken, name.value, name.place, findings);
}

function claim(taken: Map<string, Place>, name: string, place: Place, findings: Findings): void {
  const other = taken.get(name);
  if (other === undefined) {
    taken.set(name, place);
    return;
  }
  findings.problem(place, {
    given: name,
    message: `is the name of ${formatPlace(other)} too, and memory is kept under the name`,
    allowed: 'a "name" that no other has',
  });
}

function checkMatches(upstream: UpstreamDraft, findings: Findings): void {
  const taken = new Map<string, Place>();
  for (const scope of upstream.scopes) {
    const { header, value, keyFingerprint, organization, place } = scope;
    if (!header.ok || !value.ok || !keyFingerprint.ok || !organization.ok) continue;
    const byHeader = header.value !== null || value.value !== null;
    const ways = [byHeader, keyFingerprint.value !== null, organization.value !== null];
    const count = ways.filter(Boolean).length;
    if (count !== 1 || (header.value === null) !== (value.value === null)) {
      findings.problem(place, {
        message: matchFault(count, header),
        allowed: 'either "header" and "value", or "keyFingerprint", or "organization"',
      });
      continue;
    }
    const hashed = keyFingerprint.value !== null ? keyFingerprint : organization;
    if (!byHeader && upstream.fingerprintKey.ok && upstream.fingerprintKey.value === null) {
      findings.problem(hashed.place, {
        message: `needs ${upstream.fingerprintKey.place.name}, the key that fingerprints are made with`,
        allowed: 'a "fingerprintKey" in the upstream, 16 to 256 visible ASCII characters',
        example: 'what "openssl rand -hex 24" prints',
      });
    }
    const match = JSON.stringify([
      header.value,
      value.value,
      keyFingerprint.value,
      organization.value,
    ]);
    const other = taken.get(match);
    if (other !== undefined) {
      findings.problem(place, {
        message: `matches the same requests as ${formatPlace(other)}, so none would ever reach it`,
        allowed: 'a match that no scope before it has',
      });
    }
    taken.set(match, place);
  }
}

function matchFault(ways: number, header: Given<string | null>): string {
  if (ways > 1) return 'is matched in two ways';
  if (ways === 0) return 'does not say which requests it takes';
  return header.ok && header.value === null
    ? 'has a "value" without "header"'
    : 'has a "header" without "value"';
}

/** Clients keep a `retry-after` of 1 to 59 s, every one of them; above that they differ. */
const KEPT_BY_ALL_CLIENTS_MS = 59_000;

/** What no base path ends in. */
const SENT_BY_CLIENTS = /\/v1(\/(messages|chat\/completions|completions|responses|embeddings))?$/;

function warnOfOddities(
  settings: Settings,
  upstreams: readonly UpstreamDraft[],
  findings: Findings,
): void {
  const { maxRetryAfter } = settings;
  if (maxRetryAfter.ok && maxRetryAfter.value > KEPT_BY_ALL_CLIENTS_MS) {
    findings.warn(
      `${formatPlace(maxRetryAfter.place)}: above 59s some clients retry at once and others give up; ` +
        `${formatDuration(maxRetryAfter.value)} is used all the same.`,
    );
  }
  const { state } = settings;
  for (const text of state.ok ? oddParameters(state.value) : []) {
    findings.warn(`${formatPlace(state.place)}: ${text}`);
  }
  for (const { url } of upstreams) {
    if (!url.ok) continue;
    const { protocol, pathname, hostname } = url.value;
    const sent = SENT_BY_CLIENTS.exec(pathname)?.[0];
    if (sent !== undefined) {
      findings.warn(
        `${formatPlace(url.place)}: ends in ${sent}, which clients send themselves: their requests would go to ${pathname}/v1/…`,
      );
    }
    if (protocol === 'http:' && !isLoopback(hostname.replace(/^\[|\]$/g, ''))) {
      findings.warn(
        `${formatPlace(url.place)}: http sends the agents' credentials over the network unencrypted.`,
      );
    }
  }
}

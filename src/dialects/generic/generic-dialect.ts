import type { Dialect, HeaderFields, LocalAnswer, LocalProblem, Refusal } from '../dialect.js';
import { isEncoded, readBody } from '../request-body.js';
import { refusal } from '../refusals.js';
import { readRetryAfter } from '../retry-after.js';
import { parseJsonPath, type JsonPath } from './json-path.js';
import { parseMeteredPath } from './metered-path.js';
import { openUsageReader } from './usage.js';

export interface GenericSettings {
  /** Patterns as metered-path.ts reads them; none: every path. */
  readonly meteredPaths: readonly string[];
  /** As json-path.ts reads them. */
  readonly inputTokensAt: string | null;
  readonly outputTokensAt: string | null;
}

/** Requests with these may have a body. */
const METHODS_WITH_BODY = new Set(['POST', 'PUT', 'PATCH']);
const REFUSING = new Set([429, 503, 529]);

/**
 * Any HTTP API of which nothing is known but what was configured: its requests are counted, its
 * tokens where it states them, and of its refusals what HTTP itself says.
 */
export function genericDialect(settings: GenericSettings): Dialect {
  const patterns = settings.meteredPaths.map((text) => required(parseMeteredPath(text), text));
  const paths = {
    inputTokens: pathOf(settings.inputTokensAt),
    outputTokens: pathOf(settings.outputTokensAt),
  };
  return {
    name: 'generic',
    organizationHeader: null,
    pointer: (proxyUrl) => `API_BASE_URL=${proxyUrl}`,
    isMetered: (method, path) =>
      METHODS_WITH_BODY.has(method) &&
      (patterns.length === 0 || path === null || patterns.some((pattern) => pattern.test(path))),
    // Many APIs with tokens have models too, and costs are learned for each.
    readRequest: (headers, body) =>
      isEncoded(headers) ? { model: '', session: '' } : readBody(body, null),
    openUsageReader: (contentType) => openUsageReader(contentType, paths),
    readLimitSignals: () => [],
    mayRefuse: (status) => REFUSING.has(status),
    readRefusal: (status, headers, _body, now) => readRefusal(status, headers, now),
    localAnswer,
  };
}

function pathOf(text: string | null): JsonPath | null {
  return text === null ? null : required(parseJsonPath(text), text);
}

function required<Value>(value: Value | null, text: string): Value {
  if (value === null) throw new RangeError(`not checked by the configuration: ${text}`);
  return value;
}

function readRefusal(status: number, headers: HeaderFields, now: number): Refusal | null {
  if (!REFUSING.has(status)) return null;
  const statedWaitMs = readRetryAfter(headers, now);
  const kind = status !== 429 ? 'overload' : statedWaitMs === null ? 'unknown' : 'quota';
  return refusal(kind, statedWaitMs);
}

const STATUSES: Readonly<Record<LocalProblem['kind'], number>> = {
  'rate-limited': 429,
  terminal: 429,
  overloaded: 503,
  'state-unavailable': 503,
  'bad-request': 400,
  'unmet-expectation': 417,
  'too-large': 413,
  'upstream-unreachable': 502,
  'upstream-silent': 504,
  'not-implemented': 501,
  loop: 508,
};

function localAnswer({ kind, message, requestId }: LocalProblem): LocalAnswer {
  return {
    status: STATUSES[kind],
    contentType: 'application/json',
    headers: { 'x-request-id': requestId },
    body: JSON.stringify({ error: kind, message, requestId }),
  };
}

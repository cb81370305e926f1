import type { LocalAnswer, LocalProblem } from '../dialect.js';

interface Shape {
  readonly status: number;
  readonly type: string;
  readonly code: string | null;
}

/**
 * OpenAI's envelope. The code of a terminal refusal is `insufficient_quota`, which its clients know
 * for one that no wait cures; that they do not try again is for `x-should-retry: false` to say.
 */
const SHAPES: Readonly<Record<LocalProblem['kind'], Shape>> = {
  'rate-limited': { status: 429, type: 'tokens', code: 'rate_limit_exceeded' },
  terminal: { status: 429, type: 'insufficient_quota', code: 'insufficient_quota' },
  overloaded: { status: 503, type: 'server_error', code: 'overloaded' },
  'state-unavailable': { status: 503, type: 'server_error', code: null },
  'bad-request': { status: 400, type: 'invalid_request_error', code: null },
  'unmet-expectation': { status: 417, type: 'invalid_request_error', code: null },
  'too-large': { status: 413, type: 'invalid_request_error', code: 'request_too_large' },
  'upstream-unreachable': { status: 502, type: 'server_error', code: 'upstream_unreachable' },
  'upstream-silent': { status: 504, type: 'server_error', code: 'upstream_timeout' },
  'not-implemented': { status: 501, type: 'server_error', code: null },
  loop: { status: 508, type: 'server_error', code: null },
};

/** Headers about waiting are the proxy's to add; the provider's own limit headers are never made up. */
export function localAnswer({ kind, message, requestId }: LocalProblem): LocalAnswer {
  const { status, type, code } = SHAPES[kind];
  return {
    status,
    contentType: 'application/json',
    headers: { 'x-request-id': requestId },
    body: JSON.stringify({ error: { message, type, param: null, code } }),
  };
}

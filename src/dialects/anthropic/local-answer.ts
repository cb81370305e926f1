import type { LocalAnswer, LocalProblem } from '../dialect.js';

interface Shape {
  readonly status: number;
  readonly type: string;
}

/**
 * Statuses and error types by wire facts §1.4. What can't be cured by waiting is a `billing_error`:
 * with `x-should-retry: false` Claude Code shows its message as it is and does not try again
 * (§4.2).
 */
const SHAPES: Readonly<Record<LocalProblem['kind'], Shape>> = {
  'rate-limited': { status: 429, type: 'rate_limit_error' },
  terminal: { status: 429, type: 'billing_error' },
  overloaded: { status: 529, type: 'overloaded_error' },
  'state-unavailable': { status: 503, type: 'api_error' },
  'bad-request': { status: 400, type: 'invalid_request_error' },
  'unmet-expectation': { status: 417, type: 'invalid_request_error' },
  'too-large': { status: 413, type: 'request_too_large' },
  'upstream-unreachable': { status: 502, type: 'api_error' },
  'upstream-silent': { status: 504, type: 'timeout_error' },
  'not-implemented': { status: 501, type: 'api_error' },
  loop: { status: 508, type: 'api_error' },
};

/**
 * Anthropic's error envelope. Headers about waiting are the proxy's to add, and the provider's own
 * limit headers are never made up: they would turn a pause into a plan limit (wire facts §4.3).
 */
export function localAnswer(problem: LocalProblem): LocalAnswer {
  const { status, type } = SHAPES[problem.kind];
  return {
    status,
    contentType: 'application/json',
    headers: { 'request-id': problem.requestId },
    body: JSON.stringify({
      type: 'error',
      error: { type, message: problem.message },
      request_id: problem.requestId,
    }),
  };
}

/** What was seen on the wire; wire facts names the source of each. */

/** A subscription's headers of a 200, all twelve of them (wire facts §1.2). */
export const SUBSCRIPTION_200 = {
  'anthropic-ratelimit-unified-5h-reset': '1785182400',
  'anthropic-ratelimit-unified-5h-status': 'allowed',
  'anthropic-ratelimit-unified-5h-utilization': '0.01',
  'anthropic-ratelimit-unified-7d-reset': '1785751200',
  'anthropic-ratelimit-unified-7d-status': 'allowed',
  'anthropic-ratelimit-unified-7d-utilization': '0.0',
  'anthropic-ratelimit-unified-fallback-percentage': '0.5',
  'anthropic-ratelimit-unified-overage-disabled-reason': 'org_level_disabled',
  'anthropic-ratelimit-unified-overage-status': 'rejected',
  'anthropic-ratelimit-unified-representative-claim': 'five_hour',
  'anthropic-ratelimit-unified-reset': '1785182400',
  'anthropic-ratelimit-unified-status': 'allowed',
} as const;

/** The weekly cap's 429 (wire facts §1.2, 2026-08-03). */
export const WEEKLY_CAP_429 = {
  'retry-after': '124633',
  'x-should-retry': 'true',
  'anthropic-ratelimit-unified-5h-status': 'allowed',
  'anthropic-ratelimit-unified-5h-utilization': '0.28',
  'anthropic-ratelimit-unified-7d-status': 'rejected',
  'anthropic-ratelimit-unified-7d-utilization': '1.0',
  'anthropic-ratelimit-unified-7d-surpassed-threshold': '1.0',
  'anthropic-ratelimit-unified-overage-status': 'rejected',
  'anthropic-ratelimit-unified-status': 'rejected',
  'anthropic-ratelimit-unified-representative-claim': 'seven_day',
} as const;

/**
 * One model's window is used up; the account's overall status says rejected all the same (§1.2).
 */
export const SCOPED_429 = {
  'retry-after': '51811',
  'anthropic-ratelimit-unified-status': 'rejected',
  'anthropic-ratelimit-unified-7d-status': 'allowed_warning',
  'anthropic-ratelimit-unified-7d_oi-status': 'rejected',
  'anthropic-ratelimit-unified-representative-claim': 'seven_day_overage_included',
} as const;

/** An API key's 429 of 2024: no `retry-after`, but `x-should-retry: true` (§1.1). */
export const API_KEY_429 = {
  'anthropic-ratelimit-requests-limit': '5',
  'anthropic-ratelimit-requests-remaining': '0',
  'anthropic-ratelimit-requests-reset': '2024-03-26T20:00:00Z',
  'anthropic-ratelimit-tokens-limit': '25000',
  'anthropic-ratelimit-tokens-remaining': '16000',
  'anthropic-ratelimit-tokens-reset': '2024-03-26T20:00:00Z',
  'x-should-retry': 'true',
  server: 'cloudflare',
  via: '1.1 google',
} as const;

/** No credits: nothing says when to come back (§1.2). */
export const OUT_OF_CREDITS_429 = {
  'x-should-retry': 'true',
  'anthropic-ratelimit-unified-status': 'rejected',
  'anthropic-ratelimit-unified-overage-status': 'rejected',
  'anthropic-ratelimit-unified-overage-disabled-reason': 'out_of_credits',
} as const;

/** The envelope of every error (§1.4). */
export function errorBody(
  type: string,
  message: string,
  details?: Record<string, unknown>,
): string {
  const error = { type, message, ...(details === undefined ? {} : { details }) };
  return JSON.stringify({ type: 'error', error, request_id: 'req_011CZ' });
}

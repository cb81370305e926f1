import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ANTHROPIC } from '../../../src/dialects/anthropic/anthropic-dialect.js';
import type { Refusal } from '../../../src/dialects/dialect.js';
import { headerFields } from '../../../src/dialects/header-fields.js';
import { MAX_WAIT_MS } from '../../../src/dialects/retry-after.js';
import {
  API_KEY_429,
  errorBody,
  OUT_OF_CREDITS_429,
  SCOPED_429,
  SUBSCRIPTION_200,
  WEEKLY_CAP_429,
} from './captures.js';

const NOW = Date.UTC(2026, 7, 3, 12);
const MINUTE = 60_000;
const DAY = 86_400_000;

type Headers = Record<string, string>;

function read(status: number, headers: Headers, body: string, now = NOW): Refusal | null {
  return ANTHROPIC.readRefusal(status, headerFields(headers), body, now);
}

const RATE_LIMIT = errorBody(
  'rate_limit_error',
  'This request would exceed your account’s rate limit.',
);
const coded = (code: string) => errorBody('rate_limit_error', 'Limit.', { error_code: code });
const iso = (instant: number) => new Date(instant).toISOString();

describe('kinds of refusal', () => {
  it.each<[string, number, Headers, string, Refusal['kind'], number | null]>([
    ['weekly cap', 429, WEEKLY_CAP_429, RATE_LIMIT, 'quota', 124_633_000],
    ['one model’s window', 429, SCOPED_429, RATE_LIMIT, 'quota', 51_811_000],
    ['retry-after alone', 429, { 'retry-after': '7' }, RATE_LIMIT, 'quota', 7_000],
    ['retry-after, no body', 429, { 'retry-after': '7' }, '', 'quota', 7_000],
    [
      'milliseconds before seconds',
      429,
      { 'retry-after': '7', 'retry-after-ms': '6830' },
      RATE_LIMIT,
      'quota',
      6_830,
    ],
    ['a plan’s headers alone', 429, SUBSCRIPTION_200, RATE_LIMIT, 'quota', null],
    ['tier’s spend limit', 429, {}, coded('enforced_spend_limit_reached'), 'terminal', null],
    [
      'contract’s spend limit, whatever the headers',
      429,
      { ...API_KEY_429, 'x-should-retry': 'true' },
      coded('contract_spend_limit_reached'),
      'terminal',
      null,
    ],
    ['no credits', 429, OUT_OF_CREDITS_429, RATE_LIMIT, 'terminal', null],
    [
      'a gateway’s cap',
      429,
      { 'x-should-retry': 'false' },
      errorBody('billing_error', 'Monthly cap reached.'),
      'terminal',
      null,
    ],
    ['billing', 402, {}, errorBody('billing_error', 'Your payment failed.'), 'terminal', null],
    [
      'a spend limit of one’s own',
      400,
      {},
      errorBody(
        'invalid_request_error',
        'You have reached your specified API usage limits. You will regain access on 2026-09-01 at 00:00 UTC.',
      ),
      'terminal',
      28.5 * DAY,
    ],
    [
      'the same without a date',
      400,
      {},
      errorBody('invalid_request_error', 'You have reached your specified API usage limits.'),
      'terminal',
      null,
    ],
    [
      'no credit left',
      400,
      {},
      errorBody(
        'invalid_request_error',
        'Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.',
      ),
      'terminal',
      null,
    ],
    ['ramp', 429, { 'retry-after': '12' }, coded('ramp_limit_exceeded'), 'acceleration', 12_000],
    ['ramp without a wait', 429, {}, coded('ramp_limit_exceeded'), 'acceleration', null],
    ['hiccup by header', 429, { 'x-should-retry': 'true' }, RATE_LIMIT, 'transient', null],
    ['hiccup by header, no body', 429, { 'x-should-retry': 'true' }, '', 'transient', null],
    ['hiccup “Error”', 429, {}, errorBody('rate_limit_error', 'Error'), 'transient', null],
    [
      'hiccup “Rate limited”',
      429,
      {},
      errorBody('rate_limit_error', 'Rate limited'),
      'transient',
      null,
    ],
    ['not quite “Error”', 429, {}, errorBody('rate_limit_error', 'Error.'), 'unknown', null],
    ['bare', 429, {}, '', 'unknown', null],
    ['bare, told not to retry', 429, { 'x-should-retry': 'false' }, RATE_LIMIT, 'unknown', null],
    ['bare, not JSON', 429, {}, '<html>Too Many Requests</html>', 'unknown', null],
    ['overloaded', 529, {}, errorBody('overloaded_error', 'Overloaded'), 'overload', null],
    ['overloaded with a wait', 529, { 'retry-after': '3' }, '', 'overload', 3_000],
    ['unavailable', 503, { 'retry-after': '120' }, '<html>', 'overload', 120_000],
    // Overload is nobody's quota, whatever the headers say beside it.
    ['overloaded on a plan', 529, WEEKLY_CAP_429, '', 'overload', 124_633_000],
  ])('%s', (_, status, headers, body, kind, statedWaitMs) => {
    expect(read(status, headers, body)).toMatchObject({ kind, statedWaitMs });
    expect(ANTHROPIC.mayRefuse(status)).toBe(true);
  });

  it.each<[string, number, string]>([
    [
      'a bad request',
      400,
      errorBody('invalid_request_error', 'messages: at least one is required'),
    ],
    [
      'a bad request that quotes the words',
      400,
      errorBody('invalid_request_error', 'text: You have reached your specified API usage limits'),
    ],
    [
      'no credit, as somebody else words it',
      400,
      errorBody('api_error', 'Your credit balance is too low to access the Anthropic API.'),
    ],
    ['an unreadable bad request', 400, ''],
    ['a 402 of something else', 402, '{}'],
    [
      'long context without the option, as it was worded',
      429,
      errorBody('rate_limit_error', 'Extra usage is required for long context requests.'),
    ],
    [
      'long context without the option, as it is worded',
      429,
      errorBody('rate_limit_error', 'Usage credits are required for long context requests.'),
    ],
    ['success', 200, ''],
    ['no such key', 401, errorBody('authentication_error', 'invalid x-api-key')],
    ['a server’s error', 500, errorBody('api_error', 'Internal server error')],
    ['a server’s timeout', 504, errorBody('timeout_error', 'Timed out')],
  ])('refuses nothing: %s', (_, status, body) => {
    expect(read(status, { 'x-should-retry': 'true', 'retry-after': '5' }, body)).toBeNull();
  });
});

describe('the limits a refusal names', () => {
  const DAYS_7 = 7 * DAY;

  it.each<[string, Headers, string, Refusal['limits']]>([
    ['the rejected window', WEEKLY_CAP_429, RATE_LIMIT, [{ name: '7d', windowMs: DAYS_7 }]],
    ['the scoped window alone', SCOPED_429, RATE_LIMIT, [{ name: '7d_oi', windowMs: DAYS_7 }]],
    [
      'the classic limit with nothing left',
      API_KEY_429,
      RATE_LIMIT,
      [{ name: 'requests', windowMs: MINUTE }],
    ],
    [
      'every window that is rejected',
      { ...WEEKLY_CAP_429, 'anthropic-ratelimit-unified-5h-status': 'rejected' },
      RATE_LIMIT,
      [
        { name: '5h', windowMs: 5 * 3_600_000 },
        { name: '7d', windowMs: DAYS_7 },
      ],
    ],
    [
      'none for the overall status alone',
      { 'anthropic-ratelimit-unified-status': 'rejected' },
      '',
      [],
    ],
    [
      'overage where nothing else is rejected',
      {
        'anthropic-ratelimit-unified-status': 'rejected',
        'anthropic-ratelimit-unified-overage-status': 'rejected',
      },
      '',
      [{ name: 'overage', windowMs: null }],
    ],
    [
      'the claimed window of an account that gets no status for each',
      {
        'anthropic-ratelimit-unified-status': 'rejected',
        'anthropic-ratelimit-unified-overage-reset': '1786000000',
        'anthropic-ratelimit-unified-representative-claim': 'overage',
      },
      '',
      [{ name: 'overage', windowMs: null }],
    ],
    [
      'not the claimed window if its own status allows',
      { ...SUBSCRIPTION_200, 'anthropic-ratelimit-unified-status': 'rejected' },
      '',
      [],
    ],
    [
      'the message’s limit where no header names one',
      { 'x-should-retry': 'true' },
      errorBody(
        'rate_limit_error',
        'This request would exceed the rate limit for your organization of 20,000 input tokens per minute…',
      ),
      [{ name: 'input_tokens', windowMs: MINUTE }],
    ],
    [
      'another message’s',
      {},
      errorBody('rate_limit_error', 'Limit of 1,000,000 tokens per day or 50 requests per minute.'),
      [
        { name: 'tokens', windowMs: DAY },
        { name: 'requests', windowMs: MINUTE },
      ],
    ],
  ])('%s', (_, headers, body, limits) => {
    const refusal = read(429, headers, body, Date.UTC(2026, 6, 27));
    expect(refusal).toMatchObject({ kind: 'quota', limits });
  });
});

describe('the wait a refusal states', () => {
  const seconds = (instant: number) => String(instant / 1000);

  it.each<[string, Headers, number | null]>([
    [
      'the rejected window’s reset, not the overall one',
      {
        'anthropic-ratelimit-unified-reset': seconds(NOW + 1000),
        'anthropic-ratelimit-unified-7d-status': 'rejected',
        'anthropic-ratelimit-unified-7d-reset': seconds(NOW + DAY),
        'anthropic-ratelimit-unified-5h-status': 'allowed',
        'anthropic-ratelimit-unified-5h-reset': seconds(NOW + 2 * DAY),
      },
      DAY,
    ],
    [
      'the later one of two rejected windows',
      {
        'anthropic-ratelimit-unified-7d-status': 'rejected',
        'anthropic-ratelimit-unified-7d-reset': seconds(NOW + DAY),
        'anthropic-ratelimit-unified-5h-status': 'rejected',
        'anthropic-ratelimit-unified-5h-reset': seconds(NOW + MINUTE),
      },
      DAY,
    ],
    [
      'the overall reset where it alone is known',
      {
        'anthropic-ratelimit-unified-status': 'rejected',
        'anthropic-ratelimit-unified-reset': seconds(NOW + MINUTE),
      },
      MINUTE,
    ],
    [
      'the reset of the classic limit with nothing left',
      {
        'anthropic-ratelimit-requests-remaining': '10',
        'anthropic-ratelimit-requests-reset': iso(NOW + 50_000),
        'anthropic-ratelimit-input-tokens-remaining': '0',
        'anthropic-ratelimit-input-tokens-reset': iso(NOW + 20_000),
      },
      20_000,
    ],
    [
      'none where no limit is used up',
      {
        'anthropic-ratelimit-requests-remaining': '10',
        'anthropic-ratelimit-requests-reset': iso(NOW + 50_000),
      },
      null,
    ],
    [
      'none where the reset is past',
      {
        'anthropic-ratelimit-requests-remaining': '0',
        'anthropic-ratelimit-requests-reset': iso(NOW - 1000),
      },
      null,
    ],
    [
      'retry-after before any reset',
      {
        'retry-after': '5',
        'anthropic-ratelimit-unified-7d-status': 'rejected',
        'anthropic-ratelimit-unified-7d-reset': seconds(NOW + DAY),
      },
      5_000,
    ],
    [
      'the reset where retry-after makes no sense',
      {
        'retry-after': '-5',
        'anthropic-ratelimit-unified-7d-status': 'rejected',
        'anthropic-ratelimit-unified-7d-reset': seconds(NOW + DAY),
      },
      DAY,
    ],
  ])('%s', (_, headers, statedWaitMs) => {
    expect(read(429, headers, RATE_LIMIT)).toMatchObject({ kind: 'quota', statedWaitMs });
  });

  it('makes a window without credits a quota, and none makes it terminal', () => {
    const reason = { 'anthropic-ratelimit-unified-overage-disabled-reason': 'out_of_credits' };
    expect(read(429, { ...WEEKLY_CAP_429, ...reason }, RATE_LIMIT)?.kind).toBe('quota');
    const { 'retry-after': _, ...endless } = WEEKLY_CAP_429;
    expect(read(429, { ...endless, ...reason }, RATE_LIMIT)?.kind).toBe('terminal');
    expect(read(429, endless, RATE_LIMIT)?.kind).toBe('quota');
    const reset = { 'anthropic-ratelimit-unified-reset': seconds(NOW + DAY) };
    expect(read(429, { ...OUT_OF_CREDITS_429, ...reset }, RATE_LIMIT)).toMatchObject({
      kind: 'quota',
      statedWaitMs: DAY,
    });
  });
});

describe('any answer', () => {
  it('is judged without throwing, and refuses only where mayRefuse says it can', () => {
    const bodies = fc.oneof(
      fc.string(),
      fc.json(),
      fc.constantFrom(
        '{"error":null}',
        '{"error":{"details":[]}}',
        '{"error":{"message":1}}',
        RATE_LIMIT,
      ),
    );
    const header = fc.constantFrom(
      ...Object.keys({ ...WEEKLY_CAP_429, ...SUBSCRIPTION_200, ...API_KEY_429 }),
      'retry-after-ms',
    );
    const value = fc.oneof(
      fc.string(),
      fc.constantFrom('rejected', '0', '1', 'true', '1786000000'),
    );
    const status = fc.oneof(
      fc.integer({ min: 100, max: 599 }),
      fc.constantFrom(400, 402, 429, 503, 529),
    );
    fc.assert(
      fc.property(status, fc.dictionary(header, value), bodies, (code, headers, body) => {
        const refusal = read(code, headers, body);
        if (refusal === null) return;
        expect(ANTHROPIC.mayRefuse(code)).toBe(true);
        expect(refusal.statedWaitMs ?? 0).toBeGreaterThanOrEqual(0);
        expect(refusal.statedWaitMs ?? 0).toBeLessThanOrEqual(MAX_WAIT_MS);
        expect(refusal.limits.map((limit) => limit.name)).not.toContain('unified');
      }),
      { numRuns: 1000 },
    );
  });
});

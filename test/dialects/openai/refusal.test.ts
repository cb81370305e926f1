import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { LimitName, Refusal } from '../../../src/dialects/dialect.js';
import { headerFields } from '../../../src/dialects/header-fields.js';
import { MAX_WAIT_MS } from '../../../src/dialects/retry-after.js';
import { OPENAI } from './support.js';

const NOW = Date.UTC(2026, 10, 23, 5);
const MINUTE = 60_000;
const DAY = 86_400_000;

type Headers = Record<string, string>;

function read(status: number, headers: Headers, body: unknown): Refusal | null {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return OPENAI.readRefusal(status, headerFields(headers), text, NOW);
}

const error = (fields: object) => ({ error: { param: null, ...fields } });

/** Wire facts §3.1. */
const TPM = error({
  message:
    'Rate limit reached for gpt-4o-mini in organization org-x on tokens per min (TPM): Limit 200000, Used 195663, Requested 7592. Please try again in 976ms. Visit https://platform.openai.com/account/rate-limits to learn more.',
  type: 'tokens',
  code: 'rate_limit_exceeded',
});
const RPD = error({
  message:
    'Rate limit reached for gpt-4o in organization org-x on requests per day (RPD): Limit 200, Used 200, Requested 1. Please try again in 7m12s.',
  type: 'requests',
  code: 'rate_limit_exceeded',
});
const NO_MONEY = error({
  message: 'You exceeded your current quota, please check your plan and billing details.',
  type: 'insufficient_quota',
  code: 'insufficient_quota',
});
/** §3.2. */
const AZURE = error({
  code: '429',
  message:
    'Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-10-21 have exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after 37 seconds.',
});
const MISTRAL = {
  object: 'error',
  message: 'Rate limit exceeded',
  type: 'rate_limited',
  param: null,
  code: '1300',
  raw_status_code: 429,
};
const GROQ = error({
  message:
    'Rate limit reached for model `llama-3.3-70b` in organization `org_x` service tier `on_demand` on tokens per minute (TPM): Limit 6000, Used 5700, Requested 1066. Please try again in 7.66s.',
  type: 'tokens',
  code: 'rate_limit_exceeded',
});
const PROVIDER = error({
  message: 'Provider returned error',
  code: 429,
  metadata: { provider_name: 'Chutes', raw: 'model is temporarily rate-limited upstream' },
});
/** router-for-me/CLIProxyAPI#1666. */
const PLAN = error({
  type: 'usage_limit_reached',
  message: 'The usage limit has been reached',
  plan_type: 'free',
  resets_at: NOW / 1000 + 529_498,
  resets_in_seconds: 529_498,
});
const gemini = (violations: readonly object[], retryDelay?: string) => [
  error({
    code: 429,
    message: 'You exceeded your current quota, please check your plan and billing details.',
    status: 'RESOURCE_EXHAUSTED',
    details: [
      { '@type': 'type.googleapis.com/google.rpc.QuotaFailure', violations },
      ...(retryDelay === undefined
        ? []
        : [{ '@type': 'type.googleapis.com/google.rpc.RetryInfo', retryDelay }]),
    ],
  }),
];
const PER_MINUTE = {
  quotaMetric: 'generativelanguage.googleapis.com/generate_content_free_tier_input_token_count',
  quotaId: 'GenerateContentInputTokensPerModelPerMinute-FreeTier',
  quotaValue: '250000',
};
const PER_DAY = {
  quotaId: 'GenerateRequestsPerDayPerProjectPerModel-FreeTier',
  quotaDimensions: { model: 'gemini-2.0-flash', location: 'global' },
  quotaValue: '200',
};

describe('kinds of refusal', () => {
  it.each<[string, number, Headers, unknown, Refusal['kind'], number | null]>([
    ['OpenAI, by its text', 429, {}, TPM, 'quota', 976],
    ['OpenAI, minutes in the text', 429, {}, RPD, 'quota', 432_000],
    ['retry-after before the text', 429, { 'retry-after': '2' }, TPM, 'quota', 2_000],
    [
      'retry-after-ms before that',
      429,
      { 'retry-after': '2', 'retry-after-ms': '1200' },
      TPM,
      'quota',
      1_200,
    ],
    [
      'the reset of the limit that refused before the text',
      429,
      { 'x-ratelimit-reset-tokens': '6s', 'x-ratelimit-reset-requests': '20s' },
      TPM,
      'quota',
      6_000,
    ],
    [
      'limits that say 0 left, where the body says nothing',
      429,
      {
        'x-ratelimit-remaining-tokens': '0',
        'x-ratelimit-reset-tokens': '12s',
        'x-ratelimit-remaining-requests': '5',
        'x-ratelimit-reset-requests': '40s',
      },
      '',
      'quota',
      12_000,
    ],
    [
      'a day’s limit by its text, for the headers are about a minute',
      429,
      {
        'x-ratelimit-limit-tokens': '6000',
        'x-ratelimit-remaining-tokens': '5900',
        'x-ratelimit-reset-tokens': '1s',
      },
      error({
        message:
          'Rate limit reached for model `llama-3.3-70b` on tokens per day (TPD): Limit 100000, Used 99900, Requested 1066. Please try again in 13m51s.',
        type: 'tokens',
        code: 'rate_limit_exceeded',
      }),
      'quota',
      831_000,
    ],
    ['a ChatGPT plan, by its body', 429, {}, PLAN, 'quota', 529_498_000],
    [
      'a ChatGPT plan, by the instant in its body',
      429,
      {},
      error({ type: 'usage_limit_reached', resets_at: NOW / 1000 + 600 }),
      'quota',
      600_000,
    ],
    [
      'a ChatGPT plan that is whole again, it says, and refuses',
      429,
      {},
      error({ type: 'usage_limit_reached', resets_in_seconds: 0 }),
      'unknown',
      null,
    ],
    [
      'a ChatGPT plan without this',
      429,
      {},
      error({ type: 'usage_not_included', message: 'Upgrade.' }),
      'terminal',
      null,
    ],
    [
      'a limit without a wait, which is no sample of ours',
      429,
      {},
      error({ message: 'No.', type: 'tokens', code: 'rate_limit_exceeded' }),
      'unknown',
      null,
    ],
    ['no money', 429, {}, NO_MONEY, 'terminal', null],
    ['no money, whatever the headers', 429, { 'retry-after': '1' }, NO_MONEY, 'terminal', null],
    [
      'an account that is closed',
      429,
      {},
      error({ message: 'Not active.', type: 'billing_not_active', code: 'billing_not_active' }),
      'terminal',
      null,
    ],
    ['Azure, by its text', 429, {}, AZURE, 'quota', 37_000],
    ['Azure, by its header', 429, { 'retry-after-ms': '36870' }, AZURE, 'quota', 36_870],
    [
      'Azure’s gateway',
      429,
      {},
      { statusCode: 429, message: 'Rate limit is exceeded. Try again in 5 seconds.' },
      'quota',
      5_000,
    ],
    [
      'Azure’s -1, -1 and 0 state no wait',
      429,
      {
        'x-ratelimit-limit-tokens': '-1',
        'x-ratelimit-remaining-tokens': '-1',
        'x-ratelimit-reset-tokens': '0',
      },
      error({ code: '429', message: 'Too Many Requests' }),
      'unknown',
      null,
    ],
    ['Groq', 429, { 'retry-after': '8' }, GROQ, 'quota', 8_000],
    ['Groq, by its text', 429, {}, GROQ, 'quota', 7_660],
    ['Mistral, which says nothing', 429, {}, MISTRAL, 'unknown', null],
    ['Mistral, with a wait', 429, { 'retry-after': '3' }, MISTRAL, 'quota', 3_000],
    ['Gemini, of a minute', 429, {}, gemini([PER_MINUTE], '36s'), 'quota', 36_000],
    ['Gemini, to nine decimals', 429, {}, gemini([PER_MINUTE], '36.123456789s'), 'quota', 36_123],
    ['Gemini, of a day, with its short wait', 429, {}, gemini([PER_DAY], '36s'), 'terminal', null],
    [
      'Gemini, of a day and of a minute',
      429,
      {},
      gemini([PER_DAY, PER_MINUTE], '36s'),
      'quota',
      36_000,
    ],
    ['OpenRouter, the provider refuses', 429, {}, PROVIDER, 'transient', null],
    [
      'OpenRouter, the provider refuses by a code',
      429,
      {},
      error({ message: 'Provider returned error', code: 429, metadata: { provider_code: 'slow' } }),
      'transient',
      null,
    ],
    [
      'OpenRouter, its own limit',
      429,
      { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': String(NOW + 9_000) },
      error({ message: 'Rate limit exceeded: free-models-per-min.', code: 429 }),
      'quota',
      9_000,
    ],
    [
      'OpenRouter, no credits',
      402,
      {},
      error({ message: 'Insufficient credits', code: 402 }),
      'terminal',
      null,
    ],
    [
      'OpenRouter, credits of what is in flight',
      402,
      { 'retry-after': '4' },
      error({ message: 'In-flight budget', code: 402 }),
      'quota',
      4_000,
    ],
    [
      'an overloaded engine, said with 429',
      429,
      {},
      error({
        message: 'That model is currently overloaded with other requests.',
        type: 'requests_',
      }),
      'transient',
      null,
    ],
    ['a hiccup', 429, { 'x-should-retry': 'true' }, error({ message: 'Hm.' }), 'transient', null],
    [
      'no hiccup, where it states limits that are not used up',
      429,
      { 'x-should-retry': 'true', 'x-ratelimit-remaining-tokens': '5' },
      error({ message: 'Hm.' }),
      'unknown',
      null,
    ],
    [
      'a ChatGPT plan, by its headers',
      429,
      {
        'x-codex-primary-used-percent': '100',
        'x-codex-primary-window-minutes': '300',
        'x-codex-primary-reset-after-seconds': '13873',
        'x-codex-secondary-used-percent': '80',
        'x-codex-secondary-window-minutes': '10080',
        'x-codex-secondary-reset-after-seconds': '316705',
      },
      '',
      'quota',
      13_873_000,
    ],
    [
      'nothing that is told too late',
      429,
      {},
      error({ message: `${'x'.repeat(2000)} tokens per min. Please try again in 2s` }),
      'unknown',
      null,
    ],
    ['nothing at all', 429, {}, '', 'unknown', null],
    ['overload', 503, {}, error({ message: 'Slow Down', type: 'server_error' }), 'overload', null],
    ['overload with a wait', 503, { 'retry-after': '7' }, '', 'overload', 7_000],
    ['overload by its own status', 529, {}, '', 'overload', null],
  ])('%s', (_what, status, headers, body, kind, waitMs) => {
    const refusal = read(status, headers, body);
    expect(refusal?.kind).toBe(kind);
    if (waitMs === null) expect(refusal?.statedWaitMs).toBeNull();
    else expect(refusal?.statedWaitMs).toBeCloseTo(waitMs, -1);
  });

  it.each<[string, number, unknown]>([
    [
      'one request larger than the limit',
      429,
      error({
        message:
          'Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Requested 31000. The input or output tokens must be reduced in order to run successfully.',
        type: 'tokens',
        code: 'rate_limit_exceeded',
      }),
    ],
    [
      'one request dearer than the credits',
      402,
      error({
        message:
          'This request requires more credits, or fewer max_tokens. You requested up to 64000 tokens, but can only afford 1200.',
        code: 402,
      }),
    ],
    [
      'a model that this account has no quota for',
      429,
      gemini([{ ...PER_DAY, quotaValue: '0' }], '36s'),
    ],
    ['a bad request', 400, TPM],
    ['a fault of the server', 500, TPM],
    ['a gateway’s fault', 502, TPM],
    ['a success', 200, TPM],
  ])('%s refuses nobody else', (_what, status, body) => {
    expect(read(status, {}, body)).toBeNull();
  });
});

describe('the limits that refused', () => {
  it.each<[string, Headers, unknown, readonly LimitName[]]>([
    ['in the text', {}, TPM, [{ name: 'tokens', windowMs: MINUTE }]],
    ['of a day', {}, RPD, [{ name: 'requests', windowMs: DAY }]],
    [
      'by the error’s type',
      { 'retry-after': '1' },
      error({ type: 'requests', code: 'rate_limit_exceeded', message: 'No.' }),
      [{ name: 'requests', windowMs: null }],
    ],
    [
      'by Gemini’s quota',
      {},
      gemini([PER_MINUTE], '1s'),
      [{ name: 'input_tokens', windowMs: MINUTE }],
    ],
    [
      'by headers',
      { 'x-ratelimit-remaining-tokens': '0' },
      '',
      [{ name: 'tokens', windowMs: MINUTE }],
    ],
    ['none', { 'retry-after': '1' }, MISTRAL, []],
  ])('%s', (_what, headers, body, limits) => {
    expect(read(429, headers, body)?.limits).toEqual(limits);
  });
});

describe('the start of a body', () => {
  it('costs little to read, whatever it holds', () => {
    const quotaId = 'Request'.repeat(280);
    const body = JSON.stringify(gemini(Array.from({ length: 32 }, () => ({ quotaId }))));
    const times = Array.from({ length: 5 }, () => {
      const before = process.threadCpuUsage();
      read(429, {}, body);
      return process.threadCpuUsage(before).user / 1000;
    });
    // Measured: 0.3 ms, and 20 to 260 ms where each of them is searched to its end.
    expect(Math.min(...times)).toBeLessThan(5);
  });

  it('that is not whole is judged by the headers', () => {
    const cut = JSON.stringify(TPM).slice(0, 60);
    expect(read(429, { 'retry-after': '5' }, cut)).toMatchObject({
      kind: 'quota',
      statedWaitMs: 5_000,
    });
    expect(read(429, {}, cut)?.kind).toBe('unknown');
  });

  it('of any kind is read without throwing, and no wait is beyond belief', () => {
    const words = fc.constantFrom(
      'Please try again in 9999999999h',
      'retry after 999999999 seconds',
      'try again in 1h2m3s4ms',
      'tokens per min',
    );
    const body = fc.oneof(
      fc.json(),
      fc.string(),
      words.map((message) => JSON.stringify(error({ message }))),
      fc
        .jsonValue()
        .map((resets) => JSON.stringify(error({ resets_in_seconds: resets, resets_at: resets }))),
      fc.jsonValue().map((details) => JSON.stringify(error({ details: [details] }))),
      fc.jsonValue().map((violations) => JSON.stringify(error({ details: [{ violations }] }))),
    );
    fc.assert(
      fc.property(fc.constantFrom(402, 429, 503, 529), body, (status, text) => {
        const waitMs = read(status, {}, text)?.statedWaitMs ?? 0;
        expect(waitMs).toBeGreaterThanOrEqual(0);
        expect(waitMs).toBeLessThanOrEqual(MAX_WAIT_MS);
      }),
    );
  });
});

it('may be judged where it may be one', () => {
  for (let status = 100; status < 600; status++) {
    if (read(status, { 'retry-after': '1' }, TPM) !== null) {
      expect(OPENAI.mayRefuse(status), String(status)).toBe(true);
    }
  }
});

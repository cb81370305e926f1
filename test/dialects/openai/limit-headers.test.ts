import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { LimitSignal } from '../../../src/dialects/dialect.js';
import { headerFields } from '../../../src/dialects/header-fields.js';
import { OPENAI } from './support.js';

const NOW = Date.UTC(2026, 10, 23, 5);
const MINUTE = 60_000;
const DAY = 86_400_000;

const read = (headers: Record<string, string>) =>
  OPENAI.readLimitSignals(headerFields(headers), NOW);

const signal = (name: string, rest: Partial<LimitSignal>): LimitSignal => ({
  name,
  windowMs: null,
  status: null,
  limit: null,
  remaining: null,
  utilization: null,
  resetAt: null,
  representative: false,
  ...rest,
});

/** An API key's 200 (wire facts §3.1). */
const OPENAI_200 = {
  'x-ratelimit-limit-requests': '60',
  'x-ratelimit-limit-tokens': '150000',
  'x-ratelimit-remaining-requests': '59',
  'x-ratelimit-remaining-tokens': '147500',
  'x-ratelimit-reset-requests': '1s',
  'x-ratelimit-reset-tokens': '1s',
  'x-ratelimit-limit-project-tokens': '100000',
  'x-ratelimit-remaining-project-tokens': '97500',
  'x-ratelimit-reset-project-tokens': '1.5s',
};
/** Groq counts the requests of a day and the tokens of a minute (§3.2). */
const GROQ_200 = {
  'x-ratelimit-limit-requests': '14400',
  'x-ratelimit-limit-tokens': '18000',
  'x-ratelimit-remaining-requests': '14370',
  'x-ratelimit-remaining-tokens': '17997',
  'x-ratelimit-reset-requests': '2m59.56s',
  'x-ratelimit-reset-tokens': '7.66s',
};

describe('limits as they are stated', () => {
  it('by OpenAI', () => {
    expect(read(OPENAI_200)).toEqual([
      signal('requests', { windowMs: MINUTE, limit: 60, remaining: 59, resetAt: NOW + 1000 }),
      signal('tokens', {
        windowMs: MINUTE,
        limit: 150_000,
        remaining: 147_500,
        resetAt: NOW + 1000,
      }),
      signal('project_tokens', {
        windowMs: MINUTE,
        limit: 100_000,
        remaining: 97_500,
        resetAt: NOW + 2000,
      }),
    ]);
  });

  it('by Groq, whose requests are those of a day', () => {
    expect(read(GROQ_200)).toEqual([
      signal('requests', {
        windowMs: DAY,
        limit: 14_400,
        remaining: 14_370,
        resetAt: NOW + 180_000,
      }),
      signal('tokens', {
        windowMs: MINUTE,
        limit: 18_000,
        remaining: 17_997,
        resetAt: NOW + 8_000,
      }),
    ]);
  });

  it('by Azure, in seconds', () => {
    expect(
      read({
        'x-ratelimit-remaining-requests': '19',
        'x-ratelimit-remaining-tokens': '18000',
        'x-ratelimit-reset-requests': '10',
        'x-ratelimit-reset-tokens': '37',
      }),
    ).toEqual([
      signal('requests', { remaining: 19, resetAt: NOW + 10_000 }),
      signal('tokens', { windowMs: MINUTE, remaining: 18_000, resetAt: NOW + 37_000 }),
    ]);
  });

  it('by Azure’s Responses, which know nothing: -1, -1 and 0', () => {
    const headers = {
      'x-ratelimit-limit-tokens': '-1',
      'x-ratelimit-remaining-tokens': '-1',
      'x-ratelimit-reset-tokens': '0',
      'x-ratelimit-remaining-requests': '-1',
    };
    expect(read(headers)).toEqual([]);
  });

  it('by Mistral, then and now', () => {
    expect(
      read({
        'x-ratelimit-limit-tokens-minute': '500000',
        'x-ratelimit-remaining-tokens-minute': '499900',
        'x-ratelimit-limit-req-minute': '60',
        'x-ratelimit-remaining-req-minute': '59',
        'x-ratelimit-limit-tokens-month': '1000000000',
        'x-ratelimit-tokens-query-cost': '100',
      }),
    ).toEqual([
      signal('tokens', { windowMs: MINUTE, limit: 500_000, remaining: 499_900 }),
      signal('requests', { windowMs: MINUTE, limit: 60, remaining: 59 }),
      signal('tokens_month', { limit: 1_000_000_000 }),
    ]);
    expect(
      read({
        'ratelimitbysize-limit': '500000',
        'ratelimitbysize-remaining': '499000',
        'ratelimitbysize-reset': '17',
      }),
    ).toEqual([
      signal('tokens', {
        windowMs: MINUTE,
        limit: 500_000,
        remaining: 499_000,
        resetAt: NOW + 17_000,
      }),
    ]);
  });

  it('by OpenRouter, as an instant in milliseconds', () => {
    const headers = {
      'x-ratelimit-limit': '20',
      'x-ratelimit-remaining': '0',
      'x-ratelimit-reset': String(NOW + 30_000),
    };
    expect(read(headers)).toEqual([
      signal('requests', { limit: 20, remaining: 0, resetAt: NOW + 30_000 }),
    ]);
  });

  it('by OpenAI in its older names, which are of a minute, too', () => {
    expect(read({ 'x-ratelimit-limit-tokens_usage_based': '9' })).toEqual([
      signal('tokens_usage_based', { windowMs: MINUTE, limit: 9 }),
    ]);
  });

  it('by a ChatGPT plan, in windows with names of their own', () => {
    expect(
      read({
        'x-codex-primary-used-percent': '42.5',
        'x-codex-primary-window-minutes': '300',
        'x-codex-primary-reset-at': String(NOW / 1000 + 3600),
        'x-codex-secondary-used-percent': '7',
        'x-codex-secondary-window-minutes': '10080',
        'x-codex-secondary-reset-after-seconds': '86400',
        'x-codex-secondary-reset-at': '',
      }),
    ).toEqual([
      signal('5h', { windowMs: 5 * 60 * MINUTE, utilization: 0.425, resetAt: NOW + 60 * MINUTE }),
      signal('7d', { windowMs: 7 * DAY, utilization: 0.07, resetAt: NOW + DAY }),
    ]);
  });
});

it('a reset is the same for answers of the same second, or each would be news', () => {
  const resets = ['12ms', '976ms', '1s'].map(
    (text) => read({ 'x-ratelimit-reset-tokens': text })[0]?.resetAt,
  );
  expect(resets).toEqual([NOW + 1000, NOW + 1000, NOW + 1000]);
});

describe('what makes no sense is left out', () => {
  it.each<[string, Record<string, string>]>([
    ['not a number', { 'x-ratelimit-limit-tokens': 'many' }],
    ['a fraction of a token', { 'x-ratelimit-remaining-tokens': '0.5' }],
    ['no duration', { 'x-ratelimit-reset-tokens': 'soon' }],
    ['whole again already', { 'x-ratelimit-reset-tokens': '0s' }],
    ['past', { 'x-ratelimit-reset': '1600000000' }],
    ['a reset beyond any', { 'x-ratelimit-reset-requests': '99999h' }],
    ['an hour to refill what a minute refills', { 'x-ratelimit-reset-tokens': '1h0m0s' }],
    ['a field nobody knows', { 'x-ratelimit-foo-tokens': '5' }],
    ['other headers', { 'x-request-id': 'req_1', 'anthropic-ratelimit-tokens-limit': '5' }],
  ])('%s', (_what, headers) => {
    expect(read(headers)).toEqual([]);
  });

  it('whatever the headers, in bounded number, without throwing', () => {
    const name = fc
      .tuple(
        fc.constantFrom('x-ratelimit-', 'x-codex-', 'ratelimitbysize-', 'x-ratelimit'),
        fc.constantFrom('limit-', 'remaining-', 'reset-', 'primary-reset-at', ''),
        fc.string({ maxLength: 120 }),
      )
      .map((parts) => parts.join(''));
    const value = fc.oneof(fc.string(), fc.constantFrom('1s', '-1', '1e999', '6m0s', '0'));
    fc.assert(
      fc.property(fc.dictionary(name, value, { maxKeys: 60 }), (headers) => {
        const signals = read(headers);
        expect(signals.length).toBeLessThanOrEqual(32);
        for (const { name: named, resetAt } of signals) {
          expect(named.length).toBeLessThanOrEqual(106);
          expect(resetAt === null || resetAt > NOW).toBe(true);
        }
      }),
    );
  });
});

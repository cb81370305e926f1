import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ANTHROPIC } from '../../../src/dialects/anthropic/anthropic-dialect.js';
import type { LimitSignal } from '../../../src/dialects/dialect.js';
import { headerFields } from '../../../src/dialects/header-fields.js';
import { API_KEY_429, SCOPED_429, SUBSCRIPTION_200, WEEKLY_CAP_429 } from './captures.js';

const NOW = Date.UTC(2026, 6, 27, 18);
const HOUR = 3_600_000;
const NOTHING = {
  windowMs: null,
  status: null,
  limit: null,
  remaining: null,
  utilization: null,
  resetAt: null,
  representative: false,
};

function read(headers: Record<string, string>, now = NOW): readonly LimitSignal[] {
  return ANTHROPIC.readLimitSignals(headerFields(headers), now);
}

describe('limit headers', () => {
  it('of a subscription: the windows by name and length, and the account as a whole', () => {
    expect(read(SUBSCRIPTION_200)).toEqual([
      {
        ...NOTHING,
        name: '5h',
        windowMs: 5 * HOUR,
        status: 'allowed',
        utilization: 0.01,
        resetAt: 1_785_182_400_000,
        representative: true,
      },
      {
        ...NOTHING,
        name: '7d',
        windowMs: 7 * 24 * HOUR,
        status: 'allowed',
        utilization: 0,
        resetAt: 1_785_751_200_000,
      },
      { ...NOTHING, name: 'unified', status: 'allowed', resetAt: 1_785_182_400_000 },
    ]);
  });

  it('of the weekly cap and of a scoped rejection', () => {
    const states = (headers: Record<string, string>) =>
      read(headers).map(({ name, status, representative }) => [name, status, representative]);
    expect(states(WEEKLY_CAP_429)).toEqual([
      ['5h', 'allowed', false],
      ['7d', 'rejected', true],
      ['overage', 'rejected', false],
      ['unified', 'rejected', false],
    ]);
    expect(states(SCOPED_429)).toEqual([
      ['unified', 'rejected', false],
      ['7d', 'warning', false],
      ['7d_oi', 'rejected', true],
    ]);
  });

  it('of an API key: limits of a minute', () => {
    const now = Date.UTC(2024, 2, 26, 19, 59, 30);
    const resetAt = Date.UTC(2024, 2, 26, 20);
    const limit = { ...NOTHING, windowMs: 60_000, resetAt };
    expect(read(API_KEY_429, now)).toEqual([
      { ...limit, name: 'requests', limit: 5, remaining: 0 },
      { ...limit, name: 'tokens', limit: 25_000, remaining: 16_000 },
    ]);
  });

  it('of pools apart: priority and fast', () => {
    const signals = read({
      'anthropic-ratelimit-input-tokens-limit': '2000000',
      'anthropic-ratelimit-output-tokens-remaining': '400000',
      'anthropic-priority-input-tokens-limit': '10000',
      'anthropic-priority-output-tokens-remaining': '9000',
      'anthropic-fast-input-tokens-reset': '2026-07-27T18:00:30Z',
    });
    expect(
      signals.map(({ name, limit, remaining, resetAt }) => [name, limit, remaining, resetAt]),
    ).toEqual([
      ['input_tokens', 2_000_000, null, null],
      ['output_tokens', null, 400_000, null],
      ['priority_input_tokens', 10_000, null, null],
      ['priority_output_tokens', null, 9_000, null],
      ['fast_input_tokens', null, null, NOW + 30_000],
    ]);
  });

  it.each([
    ['five_hour', '5h', 5 * HOUR],
    ['seven_day', '7d', 168 * HOUR],
    ['seven_day_opus', '7d_opus', 168 * HOUR],
    ['seven_day_sonnet', '7d_sonnet', 168 * HOUR],
    ['seven_day_overage_included', '7d_oi', 168 * HOUR],
    ['overage', 'overage', null],
    // The set is open.
    ['one_hour_haiku', '1h_haiku', HOUR],
    ['some_new_thing', 'some_new_thing', null],
    ['zero_hour', '0h', null],
  ])('the claim %s names the window %s', (claim, window, windowMs) => {
    const [signal] = read({
      'anthropic-ratelimit-unified-representative-claim': claim,
      [`anthropic-ratelimit-unified-${window}-utilization`]: '1.05',
    });
    expect(signal).toMatchObject({
      name: window,
      windowMs,
      representative: true,
      utilization: 1.05,
    });
  });

  it('of overage: kept while it may be used, left out where it is switched off', () => {
    const billed = {
      'anthropic-ratelimit-unified-reset': '1785182400',
      'anthropic-ratelimit-unified-overage-reset': '1785542400',
      'anthropic-ratelimit-unified-overage-utilization': '0.3',
      'anthropic-ratelimit-unified-overage-in-use': 'true',
      'anthropic-ratelimit-unified-representative-claim': 'overage',
    };
    expect(read(billed).map((signal) => [signal.name, signal.representative])).toEqual([
      ['unified', false],
      ['overage', true],
    ]);
    const off = { 'anthropic-ratelimit-unified-overage-disabled-reason': 'org_level_disabled' };
    expect(read({ ...billed, ...off }).map((signal) => signal.name)).toEqual(['unified']);
  });

  it('reads resets as epoch seconds and as RFC 3339', () => {
    const [signal] = read({ 'anthropic-ratelimit-unified-5h-reset': '2026-07-27T20:00:00.5Z' });
    expect(signal?.resetAt).toBe(NOW + 2 * HOUR + 500);
  });

  it.each([
    ['anthropic-ratelimit-requests-limit', '-1'],
    ['anthropic-ratelimit-requests-limit', '1.5'],
    ['anthropic-ratelimit-requests-limit', '5, 5'],
    ['anthropic-ratelimit-requests-remaining', 'many'],
    ['anthropic-ratelimit-requests-reset', '0'],
    ['anthropic-ratelimit-requests-reset', '99999999999999'],
    ['anthropic-ratelimit-requests-reset', 'Mon, 27 Jul 2026 18:00:30 GMT'],
    ['anthropic-ratelimit-unified-5h-status', 'maybe'],
    ['anthropic-ratelimit-unified-5h-utilization', '-0.1'],
    ['anthropic-ratelimit-unified-5h-utilization', 'NaN'],
    ['anthropic-ratelimit-unified-5h-utilization', '1e999'],
    ['anthropic-ratelimit-unified-5h-surpassed-threshold', '0.75'],
    ['anthropic-ratelimit-unified-fallback', 'available'],
    ['anthropic-ratelimit-unified-upgrade-paths', 'overage'],
    ['anthropic-ratelimit-files-limit', '5'],
    ['anthropic-ratelimit-unified-' + 'x'.repeat(101) + '-status', 'allowed'],
    ['x-ratelimit-limit-requests', '5'],
  ])('leaves out %s: %s', (name, value) => {
    expect(read({ [name]: value })).toEqual([]);
  });

  it('reads no more than 32 limits of one answer', () => {
    const windows = Array.from({ length: 100 }, (_, at) => [
      `anthropic-ratelimit-unified-${at}h-status`,
      'allowed',
    ]);
    expect(read(Object.fromEntries(windows))).toHaveLength(32);
  });

  it('is bounded and never throws, whatever the names and values', () => {
    const name = fc.oneof(
      fc
        .tuple(fc.string(), fc.constantFrom('status', 'reset', 'utilization'))
        .map(([window, field]) => `anthropic-ratelimit-unified-${window}-${field}`),
      fc.constantFrom(...Object.keys(SUBSCRIPTION_200), ...Object.keys(API_KEY_429)),
    );
    const value = fc.oneof(fc.string(), fc.constantFrom('allowed', 'rejected', '1', '1785182400'));
    fc.assert(
      fc.property(fc.dictionary(name, value, { maxKeys: 60 }), (headers) => {
        const signals = read(headers);
        expect(signals.length).toBeLessThanOrEqual(32);
        expect(new Set(signals.map((signal) => signal.name)).size).toBe(signals.length);
        for (const { name: limit, utilization, resetAt } of signals) {
          expect(limit.length).toBeLessThanOrEqual(100);
          expect(utilization ?? 0).toBeGreaterThanOrEqual(0);
          expect(Number.isFinite(resetAt ?? 0)).toBe(true);
        }
      }),
    );
  });
});

import { expect, it } from 'vitest';
import type { Denial } from '../../src/governor/admit.js';
import { refusalOf } from '../../src/proxy/local-refusal.js';

const NOTHING = { until: 2_000, now: 1_000, limit: null, pool: null, promised: false };

it.each<[string, Pick<Denial, 'decision'> & Partial<Denial>, boolean, string]>([
  [
    'a cooldown, stated or not',
    { decision: 'cooldown' },
    false,
    'refused (429), and Tidegate waits',
  ],
  [
    'a budget',
    { decision: 'budget', limit: 'tokens' },
    false,
    'the budget of this window is used up',
  ],
  [
    'a place in line',
    { decision: 'budget', limit: 'tokens', promised: true },
    false,
    'what is left of the budget is promised to requests that came before',
  ],
  ['caution without a budget', { decision: 'budget' }, false, 'its state was lost, and few may be'],
  ['a probe', { decision: 'probing' }, true, 'one request is probing'],
  ['the ramp', { decision: 'probing' }, false, 'what is in flight has to be heard of first'],
  [
    'the brim',
    { decision: 'probing', limit: 'tokens' },
    false,
    'what is in flight has to be heard',
  ],
  [
    'a pool’s probe',
    { decision: 'probing', limit: 'opus', pool: 'opus' },
    true,
    'of this model back',
  ],
])('%s is told in words that are true of it', (_, denial, probes, text) => {
  const { message } = refusalOf({ ...NOTHING, ...denial }, 59_000, probes);
  expect(message).toContain(text);
  expect(message).toContain('Blocked until 1970-01-01T00:00:02.000Z.');
});

it.each([
  [59_000, '59', '59000'],
  [59_500, '59', '59500'],
  [1_999, '1', '1999'],
])('no wait is stated beyond %i ms, not even rounded: clients misbehave there', (...row) => {
  const [longestMs, seconds, ms] = row;
  const denial = { ...NOTHING, decision: 'cooldown', until: 3_600_000 } as const;
  expect(refusalOf(denial, longestMs, false).headers).toMatchObject({
    'retry-after': seconds,
    'retry-after-ms': ms,
  });
});

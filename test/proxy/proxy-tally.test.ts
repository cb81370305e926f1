import { expect, it } from 'vitest';
import { ProxyTally } from '../../src/proxy/proxy-tally.js';

it('sorts answers by what they mean to the governor', () => {
  const tally = new ProxyTally(['s'], ['u']);
  const statuses = [200, 204, 304, 400, 404, 428, 429, 430, 500, 503, 528, 529, 530, 599, 0];
  for (const status of statuses) tally.answered('u', true, status);
  tally.answered('u', false, 200);
  const told = (counts: typeof tally.metered) =>
    Object.fromEntries(counts.read().map(({ kind, count }) => [kind, count]));
  expect(told(tally.metered)).toEqual({
    '2xx': 2,
    '3xx': 1,
    '4xx': 4,
    '429': 1,
    '5xx': 5,
    '529': 1,
    none: 1,
  });
  expect(told(tally.unmetered)).toMatchObject({ '2xx': 1, none: 0 });
});

it('keeps refusals that come before the scope is known apart from those of every scope', () => {
  const tally = new ProxyTally(['s'], ['u']);
  tally.postponed('s');
  tally.postponed();
  tally.postponed();
  expect(tally.refusals.read()).toContainEqual({ owner: 's', kind: 'state', count: 1 });
  expect(tally.refusalsWithoutScope).toBe(2);
});

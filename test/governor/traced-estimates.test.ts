import { describe, expect, it } from 'vitest';
import { makeTraffic } from '../support/traffic.js';
import { MINUTE } from './support.js';
import { errorsOf, estimateInTraceTime } from './traced-estimates.js';

/** Sessions whose cache lives for an hour, with the pauses of real ones. */
const traffic = makeTraffic(40, 40, 1);
/** The same on a cache of five minutes: what is asked for after a longer pause is written anew. */
const shortLived = traffic.map((request, index) => {
  const before = traffic[index - 1];
  const sameSession = before?.session === request.session;
  if (!sameSession || request.t - before.t <= 300) return request;
  return { ...request, input: request.input + request.cacheRead, cacheRead: 0 };
});

describe.each([
  ['one after another', null],
  ['side by side', MINUTE],
])('estimates of sessions %s, in their own time', (_order, apartMs) => {
  it.each([
    ['an hour', traffic, 0.05],
    // Here a wrong guess costs a whole prompt, and the guess is rather too high.
    ['five minutes', shortLived, 0.1],
  ])('are right in sum where a cache lives for %s', async (_lifetime, trace, sumWithin) => {
    const { median, sum } = errorsOf(await estimateInTraceTime(trace, apartMs));
    expect(median).toBeLessThan(0.4);
    expect(Math.abs(sum)).toBeLessThan(sumWithin);
  });
});

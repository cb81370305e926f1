import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Histogram } from '../../src/platform/histogram.js';

it('begins empty', () => {
  const { boundsMs, upTo, count, sumMs } = new Histogram().read();
  expect(upTo).toEqual(boundsMs.map(() => 0));
  expect({ count, sumMs }).toEqual({ count: 0, sumMs: 0 });
});

it('counts a duration at a bound, as Prometheus does, in the bucket of that bound', () => {
  const histogram = new Histogram();
  histogram.record(1);
  const { boundsMs, upTo } = histogram.read();
  expect(upTo[boundsMs.indexOf(1)]).toBe(1);
  expect(upTo[boundsMs.indexOf(1) - 1]).toBe(0);
});

it('tells for each bound how many durations were up to it', () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, max: 10_000, noNaN: true })), (durations) => {
      const histogram = new Histogram();
      for (const duration of durations) histogram.record(duration);
      const { boundsMs, upTo, count, sumMs } = histogram.read();
      expect(upTo).toEqual(
        boundsMs.map((bound) => durations.filter((duration) => duration <= bound).length),
      );
      expect(count).toBe(durations.length);
      expect(sumMs).toBeCloseTo(
        durations.reduce((sum, duration) => sum + duration, 0),
        3,
      );
    }),
  );
});

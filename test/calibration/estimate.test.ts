import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  estimateCost,
  nextTrail,
  observe,
  type ObservedUsage,
  type SessionTrail,
} from '../../src/calibration/estimate.js';
import type { ModelEstimate } from '../../src/state/scope-state.js';

const MINUTE = 60_000;

/** One conversation's requests through the estimator, as the governor takes them. */
class Conversation {
  learned: ModelEstimate | undefined;
  trail: SessionTrail | null = null;

  send(bodyBytes: number, usage: ObservedUsage, now: number): number {
    const request = { bodyBytes, trail: this.trail };
    const { inputTokens, outputTokens } = estimateCost(this.learned, request, now);
    this.learned = observe(this.learned, request, usage, now);
    this.trail = nextTrail(request, usage, now);
    return inputTokens + outputTokens;
  }
}

describe('before anything was learned', () => {
  it('takes the whole body for input and the traces’ mean for output', () => {
    expect(estimateCost(undefined, { bodyBytes: 10_000, trail: null }, 0)).toEqual({
      inputTokens: 3_000,
      outputTokens: 405,
    });
  });
});

describe('once a session is known', () => {
  it('expects the growth only, where the rest comes from the cache', () => {
    const talk = new Conversation();
    talk.send(400_000, { inputTokens: 100_000, cachedTokens: 0, outputTokens: 200 }, 0);
    talk.send(404_000, { inputTokens: 1_000, cachedTokens: 100_000, outputTokens: 200 }, MINUTE);
    const estimate = talk.send(
      408_000,
      { inputTokens: 1_000, cachedTokens: 101_000, outputTokens: 200 },
      2 * MINUTE,
    );
    expect(estimate).toBeGreaterThan(1_000);
    expect(estimate).toBeLessThan(1_500);
  });

  it('is not shaken by one cold answer', () => {
    const talk = new Conversation();
    const warm = { inputTokens: 1_000, cachedTokens: 100_000, outputTokens: 200 };
    talk.send(400_000, { inputTokens: 100_000, cachedTokens: 0, outputTokens: 200 }, 0);
    talk.send(404_000, warm, MINUTE);
    talk.send(408_000, { inputTokens: 102_000, cachedTokens: 0, outputTokens: 200 }, 2 * MINUTE);
    expect(talk.send(412_000, warm, 3 * MINUTE)).toBeLessThan(2_000);
  });

  it('takes a body that shrank for a new prompt', () => {
    const talk = new Conversation();
    talk.send(400_000, { inputTokens: 100_000, cachedTokens: 0, outputTokens: 200 }, 0);
    talk.send(404_000, { inputTokens: 1_000, cachedTokens: 100_000, outputTokens: 200 }, 1);
    const usage = { inputTokens: 10_000, cachedTokens: 0, outputTokens: 200 };
    expect(talk.send(40_000, usage, 2)).toBeGreaterThan(9_000);
  });

  it('is exact where every call costs the same', () => {
    const talk = new Conversation();
    const usage = { inputTokens: 700, cachedTokens: 0, outputTokens: 300 };
    talk.send(97, usage, 0);
    for (let call = 1; call < 50; call += 1) expect(talk.send(97, usage, call)).toBe(1000);
  });
});

describe('for a session that is not known', () => {
  it('never exceeds what nearly every such request has cost, once there were enough', () => {
    let learned: ModelEstimate | undefined;
    const usage = { inputTokens: 5_000, cachedTokens: 0, outputTokens: 200 };
    for (let call = 0; call < 30; call += 1) {
      learned = observe(learned, { bodyBytes: 20_000, trail: null }, usage, 0);
    }
    const { inputTokens, outputTokens } = estimateCost(
      learned,
      { bodyBytes: 1_600_000, trail: null },
      0,
    );
    expect(inputTokens + outputTokens).toBe(5_200);
  });
});

it('gives whole positive numbers whatever it was fed', () => {
  const count = fc.integer({ min: 0, max: 1e9 });
  const call = fc.record({
    bodyBytes: fc.integer({ min: 0, max: 33_554_432 }),
    usage: fc.record({ inputTokens: count, cachedTokens: count, outputTokens: count }),
    gap: fc.integer({ min: 0, max: 1e9 }),
  });
  fc.assert(
    fc.property(fc.array(call, { maxLength: 30, size: 'max' }), (calls) => {
      const talk = new Conversation();
      let now = 0;
      for (const { bodyBytes, usage, gap } of calls) {
        now += gap;
        const estimate = talk.send(bodyBytes, usage, now);
        expect(Number.isSafeInteger(estimate)).toBe(true);
        expect(estimate).toBeGreaterThanOrEqual(1);
      }
    }),
  );
});

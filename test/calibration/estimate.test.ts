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

  /** In the request just sent. */
  coldTokens = 0;

  send(bodyBytes: number, usage: ObservedUsage, now: number): number {
    const request = { bodyBytes, trail: this.trail };
    const { inputTokens, outputTokens, coldTokens } = estimateCost(this.learned, request, now);
    this.coldTokens = coldTokens;
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
      coldTokens: 0,
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

  it('learns from the first second request what a second one finds in the cache', () => {
    const talk = new Conversation();
    const cold = { inputTokens: 100_000, cachedTokens: 0, outputTokens: 200 };
    const warm = { inputTokens: 1_000, cachedTokens: 100_000, outputTokens: 200 };
    // First requests can't tell, however many there are.
    for (let session = 0; session < 10; session += 1) {
      talk.trail = null;
      talk.send(400_000, cold, session);
    }
    talk.send(404_000, warm, MINUTE);
    talk.trail = null;
    talk.send(400_000, cold, MINUTE);
    expect(talk.send(404_000, warm, MINUTE)).toBeLessThan(2_000);
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

describe('after a pause', () => {
  const warm = { inputTokens: 1_000, cachedTokens: 100_000, outputTokens: 200 };
  const cold = { inputTokens: 101_000, cachedTokens: 0, outputTokens: 200 };
  const SHORT = 6 * MINUTE;
  const LONG = 61 * MINUTE;

  /** Estimates of requests that each come `pause` after the one before, and cost `usage`. */
  function afterPauses(pause: number, usage: ObservedUsage): Conversation & { now: number } {
    const talk = Object.assign(new Conversation(), { now: 0 });
    talk.send(400_000, cold, talk.now);
    for (let request = 1; request <= 10; request += 1) {
      talk.now += pause;
      talk.send(400_000 + 4_000 * request, usage, talk.now);
    }
    return talk;
  }

  it('takes the cache for cold until a pause has shown otherwise', () => {
    const talk = new Conversation();
    talk.send(400_000, cold, 0);
    talk.send(404_000, warm, MINUTE);
    expect(talk.send(408_000, warm, MINUTE + SHORT)).toBeGreaterThan(100_000);
    expect(talk.send(412_000, warm, MINUTE + 2 * SHORT)).toBeLessThan(3_000);
  });

  it('expects the growth only, where caches live for an hour', () => {
    const talk = afterPauses(SHORT, warm);
    expect(talk.send(444_000, warm, talk.now + SHORT)).toBeLessThan(3_000);
  });

  it('expects what most have found: the growth, where two of three caches were warm', () => {
    const talk = afterPauses(SHORT, warm);
    for (let request = 11; request <= 15; request += 1) {
      talk.now += SHORT;
      talk.send(400_000 + 4_000 * request, cold, talk.now);
    }
    talk.now += MINUTE;
    talk.send(464_000, warm, talk.now);
    expect(talk.learned?.lateCachedShare).toBeGreaterThan(0.5);
    expect(talk.learned?.lateCachedShare).toBeLessThan(0.9);
    expect(talk.send(468_000, warm, talk.now + SHORT)).toBeLessThan(5_000);
  });

  it('tells how much more it costs if the cache has gone cold, for a pause only', () => {
    const talk = afterPauses(SHORT, warm);
    talk.send(444_000, warm, talk.now + SHORT);
    expect(talk.coldTokens).toBeGreaterThan(95_000);
    talk.send(448_000, warm, talk.now + SHORT + MINUTE);
    expect(talk.coldTokens).toBe(0);
  });

  it('is surprised by a cache gone cold without a pause only', () => {
    const talk = afterPauses(SHORT, warm);
    const before = talk.learned?.excessP99 ?? 0;
    talk.send(444_000, cold, talk.now + SHORT);
    expect(talk.learned?.excessP99).toBeLessThanOrEqual(before);
    talk.send(448_000, warm, talk.now + SHORT + MINUTE);
    talk.send(452_000, cold, talk.now + SHORT + 2 * MINUTE);
    expect(talk.learned?.excessP99).toBeGreaterThan(95_000);
  });

  it('expects the whole prompt, where caches live for five minutes', () => {
    const talk = afterPauses(SHORT, cold);
    expect(talk.send(444_000, cold, talk.now + SHORT)).toBeGreaterThan(100_000);
  });

  it('learns apart what comes after more than an hour: no cache has to live that long', () => {
    const talk = afterPauses(SHORT, warm);
    expect(talk.send(444_000, cold, talk.now + LONG)).toBeGreaterThan(100_000);
    expect(talk.send(448_000, warm, talk.now + LONG + SHORT)).toBeLessThan(2_500);
    const patient = afterPauses(LONG, warm);
    expect(patient.send(444_000, warm, patient.now + LONG)).toBeLessThan(2_500);
    expect(patient.coldTokens).toBeGreaterThan(95_000);
    expect(patient.learned).toMatchObject({ cachedShareCount: 0, lateCachedShareCount: 0 });
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

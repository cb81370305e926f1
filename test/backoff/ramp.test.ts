import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { allowanceAt, beginRamp, climbRamp, isIdle, restartRamp } from '../../src/backoff/ramp.js';
import type { RampState } from '../../src/state/scope-state.js';

const ROUND = 5_000;

describe('the ramp', () => {
  it('begins above a dozen agents, on top of what is in flight, and low after a refusal of acceleration', () => {
    expect(beginRamp(0, null, 7)).toEqual({ allowance: 16, at: 7 });
    expect(beginRamp(300, 'quota', 7).allowance).toBe(316);
    expect(beginRamp(0, 'acceleration', 7).allowance).toBe(4);
  });

  it('doubles with each round of answers, not with each answer', () => {
    const begun = beginRamp(0, null, 1_000);
    const second = climbRamp(begun, 1_000, 2_000) as RampState;
    expect(second).toEqual({ allowance: 32, at: 2_000 });
    // Admitted in the first round, like the one that has made it 32.
    expect(climbRamp(second, 1_500, 2_100)).toBe(second);
    expect(climbRamp(second, 2_000, 3_000)).toEqual({ allowance: 64, at: 3_000 });
  });

  it('doubles every five seconds without an answer, and is over after half a minute', () => {
    const begun = beginRamp(0, null, 0);
    expect(allowanceAt(begun, ROUND - 1)).toBe(16);
    expect(allowanceAt(begun, ROUND)).toBe(32);
    expect(allowanceAt(begun, 6 * ROUND)).toBe(1_024);
    expect(climbRamp(begun, 0, 6 * ROUND)).toBeNull();
  });

  it('follows five minutes in which nothing was admitted and nothing in flight', () => {
    expect(isIdle(0, 0, 300_000)).toBe(true);
    expect(isIdle(1, 0, 300_000)).toBe(false);
    expect(isIdle(0, 1, 300_000)).toBe(false);
    expect(isIdle(0, null, 300_000)).toBe(false);
  });

  it('goes on after a start, and what died in flight keeps its places until the next round', () => {
    expect(restartRamp(null, 3, 2, 7)).toEqual({ allowance: 18, at: 7 });
    // Most of it is over: the start's own is the lower one.
    expect(restartRamp({ allowance: 256, at: 0 }, 3, 0, 7)).toEqual({ allowance: 16, at: 7 });
    const low = { allowance: 4, at: 1_000 };
    expect(restartRamp(low, 0, 0, 2_000)).toEqual(low);
    expect(restartRamp(low, 1, 0, 7_000)).toEqual({ allowance: 7, at: 6_000 });
    const all = restartRamp(low, 4, 0, 2_000);
    expect([2_000, 5_999, 6_000, 11_000].map((at) => allowanceAt(all, at))).toEqual([0, 0, 1, 2]);
    expect(climbRamp(all, 6_000, 6_100)).toEqual({ allowance: 2, at: 6_100 });
  });

  it('has no more room after a start than without one, whenever somebody looks', () => {
    const ramps = fc.record({ allowance: fc.integer({ min: 0, max: 600 }), at: fc.nat(10_000) });
    const starts = fc.record({ lost: fc.nat(40), left: fc.nat(40), laterMs: fc.nat(40_000) });
    fc.assert(
      fc.property(ramps, starts, fc.nat(40_000), (ramp, { lost, left, laterMs }, waitMs) => {
        const now = 10_000 + laterMs;
        const at = now + waitMs;
        const without = Math.max(0, allowanceAt(ramp, at) - lost - left);
        const restarted = restartRamp(ramp, lost, left, now);
        expect(allowanceAt(restarted, at) - left).toBeLessThanOrEqual(without);
      }),
    );
  });

  it('never takes back what it has allowed, and never allows more than two to the number of rounds', () => {
    const step = fc.record({ passMs: fc.nat(2_000), success: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40, size: 'max' }), (steps) => {
        let now = 0;
        let ramp: RampState | null = beginRamp(0, null, now);
        let allowed = 16;
        let rounds = 0;
        for (const { passMs, success } of steps) {
          now += passMs;
          if (ramp === null) return;
          if (success && now >= ramp.at) rounds += 1;
          if (success) ramp = climbRamp(ramp, now, now);
          const next: number = ramp === null ? Infinity : allowanceAt(ramp, now);
          expect(next).toBeGreaterThanOrEqual(allowed);
          if (ramp !== null) {
            const most = 16 * 2 ** (rounds + Math.floor(now / ROUND));
            expect(next).toBeLessThanOrEqual(most);
          }
          allowed = next;
        }
      }),
    );
  });
});

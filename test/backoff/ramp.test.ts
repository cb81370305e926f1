import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { allowanceAt, beginRamp, climbRamp, isIdle } from '../../src/backoff/ramp.js';
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

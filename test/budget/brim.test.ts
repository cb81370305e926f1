import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { mayBeFull, type Doubt } from '../../src/budget/brim.js';
import { limitOf } from '../../src/budget/limits.js';
import type { LimitState } from '../../src/state/scope-state.js';
import { rule } from './support.js';

const RULE = rule(null);

function full(used: number, doubt: Partial<Doubt>, learned: number | null = 1_000) {
  const limit = limitOf({}, 'tokens');
  const whole = { guessed: 1, coldTokens: 0, excess: 0, ...doubt };
  return mayBeFull({ ...limit, used, budget: { ...limit.budget, learned } }, RULE, whole);
}

describe('near a limit that was learned', () => {
  it('what may go over it has to be known before another request follows', () => {
    expect(full(949, { excess: 50 })).toBe(false);
    expect(full(950, { excess: 50 })).toBe(true);
    // With nothing unknown in flight, nobody is kept waiting.
    expect(full(999, { guessed: 0, coldTokens: 50, excess: 50 })).toBe(false);
  });

  it('several guesses call for more room, by the root of their number, up to a tenth of the limit', () => {
    expect(full(959, { guessed: 4, excess: 20 })).toBe(false);
    expect(full(960, { guessed: 4, excess: 20 })).toBe(true);
    expect(full(899, { guessed: 400, excess: 50 })).toBe(false);
    expect(full(900, { guessed: 400, excess: 50 })).toBe(true);
  });

  it('caches that may have gone cold call for room for all of them, on top', () => {
    expect(full(919, { coldTokens: 80 })).toBe(false);
    expect(full(920, { coldTokens: 80 })).toBe(true);
    expect(full(909, { coldTokens: 80, excess: 10 })).toBe(false);
    expect(full(910, { coldTokens: 80, excess: 10 })).toBe(true);
    expect(full(899, { coldTokens: 500 })).toBe(false);
  });

  it('a stated limit is known as well, as an amount or as what a fraction leaves; the lowest counts', () => {
    const limit = limitOf({}, 'tokens');
    const doubt = { guessed: 1, coldTokens: 0, excess: 50 };
    const stated = { name: 'tokens', limit: 1_000, window: 0, sequence: 1, fraction: null };
    const spans = { from: 0, fromCharged: 0, fromCounted: 0, used: 0.5, usedCharged: 500 };
    const fraction = { ...spans, budget: 800 };
    const fullAt = (used: number, given: Partial<LimitState>) =>
      mayBeFull({ ...limit, used, ...given }, RULE, doubt);
    expect([949, 950].map((used) => fullAt(used, { stated }))).toEqual([false, true]);
    const inferred = { stated: { ...stated, fraction } };
    expect([749, 750].map((used) => fullAt(used, inferred))).toEqual([false, true]);
    // Of a window that is over a fraction says nothing.
    expect(fullAt(1_000, { stated: { ...stated, window: 7, fraction } })).toBe(false);
    const both = { ...inferred, budget: { ...limit.budget, learned: 600 } };
    expect([549, 550].map((used) => fullAt(used, both))).toEqual([false, true]);
  });

  it('is asked of limits that count input only', () => {
    const limit = limitOf({}, 'tokens');
    const brimful = { ...limit, used: 1_000, budget: { ...limit.budget, learned: 1_000 } };
    const doubt = { guessed: 1, coldTokens: 0, excess: 50 };
    for (const unit of ['requests', 'output_tokens'] as const) {
      expect(mayBeFull(brimful, rule(null, { unit }), doubt)).toBe(false);
    }
  });

  it('is not asked of a bucket, which has room again in a moment', () => {
    const bucket = { at: 0, carry: 0, lowered: 0, history: [] };
    const limit = { ...limitOf({}, 'tokens'), used: 1_000, bucket };
    const brimful = { ...limit, budget: { ...limit.budget, learned: 1_000 } };
    const doubt = { guessed: 1, coldTokens: 0, excess: 50 };
    expect(mayBeFull(brimful, rule(null, { kind: 'bucket' }), doubt)).toBe(false);
  });

  it('never holds anybody back where no limit was learned, or below nine tenths of it', () => {
    const amount = fc.nat({ max: 1e12 });
    fc.assert(
      fc.property(
        amount,
        fc.record({ guessed: fc.nat(1e6), coldTokens: amount, excess: amount }),
        fc.option(amount),
        (used, doubt, learned) => {
          const held = full(used, doubt, learned);
          const none = doubt.guessed === 0;
          if (learned === null || used < 0.9 * learned || none) expect(held).toBe(false);
          if (learned !== null && used >= learned && !none) expect(held).toBe(true);
        },
      ),
    );
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { mayBeFull } from '../../src/budget/brim.js';
import { limitOf } from '../../src/budget/limits.js';
import { rule } from './support.js';

const RULE = rule(null);

function full(used: number, guesses: number, excess: number, learned: number | null = 1_000) {
  const limit = limitOf({}, 'tokens');
  return mayBeFull({ ...limit, used, budget: { ...limit.budget, learned } }, RULE, guesses, excess);
}

describe('near a limit that was learned', () => {
  it('what may go over it has to be known before another request follows', () => {
    expect(full(949, 1, 50)).toBe(false);
    expect(full(950, 1, 50)).toBe(true);
    // With nothing unknown in flight, nobody is kept waiting.
    expect(full(999, 0, 50)).toBe(false);
  });

  it('several guesses call for more room, by the root of their number, up to a tenth of the limit', () => {
    expect(full(920, 4, 50)).toBe(true);
    expect(full(899, 400, 50)).toBe(false);
    expect(full(900, 400, 50)).toBe(true);
  });

  it('is asked of limits that count input only', () => {
    const limit = limitOf({}, 'tokens');
    const brimful = { ...limit, used: 1_000, budget: { ...limit.budget, learned: 1_000 } };
    for (const unit of ['requests', 'output_tokens'] as const) {
      expect(mayBeFull(brimful, rule(null, { unit }), 1, 50)).toBe(false);
    }
  });

  it('never holds anybody back where no limit was learned, or below nine tenths of it', () => {
    const amount = fc.nat({ max: 1e12 });
    fc.assert(
      fc.property(
        amount,
        fc.nat(1e6),
        amount,
        fc.option(amount),
        (used, guesses, excess, learned) => {
          const held = full(used, guesses, excess, learned);
          if (learned === null || used < 0.9 * learned || guesses === 0) expect(held).toBe(false);
          if (learned !== null && used >= learned && guesses > 0) expect(held).toBe(true);
        },
      ),
    );
  });
});

import { describe, expect, it } from 'vitest';
import { limitOf, sourceOf, wasRefused } from '../../src/budget/limits.js';
import { shiftLimit } from '../../src/budget/shift.js';
import { isStatedAnyway, statedBudget } from '../../src/budget/stated-budget.js';
import type { LimitState } from '../../src/state/scope-state.js';
import { Book, CONTROLLER, HOUR, MINUTE, rule, WINDOW } from './support.js';

const NEW = limitOf({}, 'tokens');
const STATED = { name: 'tokens', limit: 10_000, window: 0, sequence: 1, fraction: null };

describe('a limit that the upstream states', () => {
  it('leaves a five-hundredth free, and a fifth of what others spend, up to a fiftieth of the limit', () => {
    const budget = (others: number) => statedBudget({ ...NEW, stated: STATED, others });
    expect([0, 100, 1_000, 1_001, 9_000].map(budget)).toEqual([9_980, 9_960, 9_780, 9_780, 9_780]);
  });

  it('leads where it is as low as the budget of the operator, and not where it is higher', () => {
    const leading = (current: number) =>
      sourceOf({
        ...NEW,
        stated: STATED,
        budget: { ...NEW.budget, current, source: 'configured' },
      });
    expect([9_979, 9_980].map(leading)).toEqual(['configured', 'headers']);
  });

  it('is not contradicted by a sample of nine tenths of it or more', () => {
    const anyway = (learned: number) => isStatedAnyway({ ...NEW, stated: STATED }, learned);
    expect([8_999, 9_000].map(anyway)).toEqual([false, true]);
  });
});

describe('a window', () => {
  it('was refused in, be it in its first millisecond', () => {
    const refused = (refusedAt: number) =>
      wasRefused({
        ...NEW,
        window: { ...NEW.window, startedAt: 10 },
        control: { ...NEW.control, refusedAt },
      });
    expect([9, 10].map(refused)).toEqual([false, true]);
  });

  it('that was used to nine tenths shows that the budget was in the way, whether anybody was refused or not', () => {
    const guardAfter = (spent: number) => {
      const book = new Book([rule(1_000)]).spend(spent, 0).roll(WINDOW);
      return book.spend(100, WINDOW).nudge(WINDOW + 1);
    };
    expect(guardAfter(899)).toMatchObject({ guard: 'not-in-the-way' });
    expect(guardAfter(900)).toMatchObject({ kind: 'raised' });
  });

  it('of which a twentieth was used says something about the budget', () => {
    const guardAt = (spent: number) => new Book([rule(1_000)]).spend(spent, 0).nudge(2 * HOUR);
    expect(guardAt(49)).toMatchObject({ guard: 'little-used' });
    expect(guardAt(50)).toMatchObject({ guard: 'not-in-the-way' });
  });

  it('of a limit that left the configuration is forgotten when it is over, or never began', () => {
    const book = new Book([rule(1_000), rule(1_000, { name: 'left' })]).spend(10, 0);
    const [kept] = book.rules as [ReturnType<typeof rule>];
    const namesAt = (now: number) => Object.keys(CONTROLLER.roll(book.limits, [kept], now));
    expect(namesAt(WINDOW - 1)).toEqual(['tokens', 'left']);
    expect(namesAt(WINDOW)).toEqual(['tokens']);
    const unused = CONTROLLER.roll({}, book.rules, 0);
    expect(Object.keys(unused)).toEqual(['tokens', 'left']);
    expect(Object.keys(CONTROLLER.roll(unused, [kept], 1))).toEqual(['tokens']);
  });
});

describe('a clock that is set back', () => {
  /** Every instant that a limit can hold, `at` and some after it. */
  function limitAt(at: number): LimitState {
    return {
      ...NEW,
      window: { ...NEW.window, startedAt: at, endsAt: at + HOUR },
      cells: [{ at: at + 1, amount: 3, orphaned: 0 }],
      bucket: {
        at: at + 2,
        carry: 1,
        lowered: 5,
        history: [{ at: at + 3, amount: 7, low: 1, full: true }],
      },
      control: {
        ...NEW.control,
        nudgedAt: at + 4,
        probedAt: at + 5,
        refusedAt: at + 6,
        denied: { at: at + 7, amount: 1 },
        full: { since: at + 8, until: at + 9 },
      },
    };
  }

  it('takes every instant of a limit along, and nothing else', () => {
    expect(shiftLimit(limitAt(2 * HOUR), -HOUR)).toEqual(limitAt(HOUR));
    expect(shiftLimit(limitAt(HOUR), 5 * MINUTE)).toEqual(limitAt(HOUR + 5 * MINUTE));
    expect(shiftLimit(NEW, -HOUR)).toEqual(NEW);
  });
});

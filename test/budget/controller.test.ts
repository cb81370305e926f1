import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BudgetController } from '../../src/budget/budget-controller.js';
import { growthShape } from '../../src/budget/growth.js';
import { BOUNDS } from '../../src/state/scope-state.js';
import { Book, CONTROLLER, HOUR, MINUTE, rule, WINDOW } from './support.js';

/** A configured budget of 1,000 tokens, used up at the start. */
function fullBook(): Book {
  const book = new Book([rule(1000)]).spend(950, 0);
  book.charge(100, 1);
  return book;
}

describe('the integral controller', () => {
  it('raises a budget that was in the way by 3 %, at most hourly, also while exhausted', () => {
    const book = fullBook();
    expect(book.nudge(HOUR)).toEqual({ kind: 'raised', limit: 'tokens', from: 1000, to: 1030 });
    expect(book.nudge(HOUR + 59 * MINUTE)).toMatchObject({ guard: 'nudged-lately' });
    expect(book.nudge(2 * HOUR)).toMatchObject({ kind: 'raised', from: 1030, to: 1061 });
  });

  it.each([
    ['young-traffic', (book: Book) => book.nudge(HOUR - 1)],
    ['young-traffic', (book: Book) => book.nudge(HOUR, { firstAdmittedAt: null })],
    ['crash-loop', (book: Book) => book.nudge(HOUR, { crashLoop: true })],
    ['cautious', (book: Book) => book.nudge(HOUR, { cautious: true })],
    [
      'little-used',
      (book: Book) =>
        book
          .roll(WINDOW)
          .spend(49, WINDOW)
          .nudge(WINDOW + 1),
    ],
    [
      'unobserved',
      (book: Book) => {
        book.limits = CONTROLLER.distrust(book.limits, book.rules);
        return book.nudge(HOUR);
      },
    ],
    [
      'refused-lately',
      (book: Book) => {
        book.limits = CONTROLLER.noteRefusal(book.limits, book.rules, null, 0);
        return book.nudge(WINDOW - 1);
      },
    ],
  ])('is held back by the guard %s', (guard, nudge) => {
    expect(nudge(fullBook())).toEqual({ kind: 'held', limit: 'tokens', guard });
  });

  it('does not take idleness for headroom: half a budget used is not in the way', () => {
    const book = new Book([rule(1000)]).spend(890, 0);
    expect(book.nudge(HOUR)).toMatchObject({ guard: 'not-in-the-way' });
    book.spend(10, HOUR);
    expect(book.nudge(2 * HOUR)).toMatchObject({ kind: 'raised' });
  });

  it('remembers that the budget was in the way after the window has ended', () => {
    const book = fullBook().roll(WINDOW).spend(60, WINDOW);
    expect(book.nudge(WINDOW + 1)).toMatchObject({ kind: 'raised' });
    expect(book.nudge(WINDOW + HOUR + 1), 'and forgets it with the step').toMatchObject({
      guard: 'not-in-the-way',
    });
  });

  it.each([
    [1, 2],
    [10, 11],
    [33, 34],
    [100, 103],
  ])('raises a small budget by one at least: %d to %d', (budget, to) => {
    const book = new Book([rule(budget)]).spend(budget, 0);
    expect(book.nudge(HOUR)).toMatchObject({ kind: 'raised', from: budget, to });
  });

  it('never exceeds twice the initial budget', () => {
    const book = new Book([rule(1000)]);
    for (let hour = 1; hour < 100; hour += 1) {
      book.roll(hour * HOUR);
      while (book.charge(100, hour * HOUR).kind === 'charged');
      book.nudge(hour * HOUR + 1);
    }
    expect(book.limit.budget.current).toBe(2000);
    expect(book.nudge(1000 * HOUR)).toMatchObject({ guard: 'at-ceiling' });
  });

  it('grows flat around the learned limit and fully far from it', () => {
    expect(growthShape(1000, null)).toBe(1);
    expect(growthShape(970, 1000)).toBe(0.1);
    expect(growthShape(1000, 1000)).toBeLessThan(0.2);
    expect(growthShape(1100, 1000)).toBe(1);
    expect(growthShape(500, 1000)).toBe(1);
  });
});

describe('learning', () => {
  it('sets the budget 3 % below the learned limit, within 30 % and 200 % of the initial one', () => {
    const learned = (limit: number) => {
      const book = new Book([rule(1000)]).roll(0);
      book.limits = CONTROLLER.learn(book.limits, book.rules[0]!, limit, limit);
      return book.limit.budget;
    };
    expect(learned(800)).toEqual({
      current: 776,
      learned: 800,
      reference: 1000,
      found: 800,
      source: 'learned',
    });
    expect(learned(100).current).toBe(300);
    expect(learned(9000).current).toBe(2000);
  });

  it('without a configured budget measures floor and ceiling from the highest sample', () => {
    const book = new Book([rule(null)]).roll(0);
    const learn = (limit: number, highest: number) => {
      book.limits = CONTROLLER.learn(book.limits, book.rules[0]!, limit, highest);
      return book.limit.budget.current;
    };
    expect(learn(1000, 1000)).toBe(970);
    expect(learn(100, 1000)).toBe(300);
    expect(learn(900, 1000)).toBe(873);
  });

  it('without a configured budget takes three full windows without a refusal as a new reference', () => {
    const book = new Book([rule(null)]).roll(0);
    book.limits = CONTROLLER.learn(book.limits, book.rules[0]!, 1000, 1000);
    for (const window of [0, 1]) book.spend(900, window * WINDOW).roll((window + 1) * WINDOW);
    expect(book.limit.budget.reference).toBe(1000);
    book.spend(900, 2 * WINDOW).roll(3 * WINDOW);
    expect(book.limit.budget.reference).toBe(970);
  });

  it('counts no window in which the upstream refused', () => {
    const book = new Book([rule(null)]).roll(0);
    book.limits = CONTROLLER.learn(book.limits, book.rules[0]!, 1000, 1000);
    for (const window of [0, 1, 2, 3]) {
      book.spend(900, window * WINDOW);
      if (window === 1) {
        book.limits = CONTROLLER.noteRefusal(book.limits, book.rules, null, WINDOW + 1);
      }
      book.roll((window + 1) * WINDOW);
    }
    expect(book.limit.budget.reference).toBe(1000);
  });

  it('is taken back by the operator', () => {
    const book = fullBook();
    book.limits = CONTROLLER.learn(book.limits, book.rules[0]!, 500, 500);
    book.limits = CONTROLLER.forget(book.limits, book.rules);
    expect(book.limit.budget).toEqual({
      current: 1000,
      learned: null,
      reference: 1000,
      found: null,
      source: 'configured',
    });
    expect(book.limit.used).toBe(950);
  });
});

describe('a changed configuration', () => {
  it('takes effect at once and keeps what was learned', () => {
    const book = new Book([rule(1000)]).roll(0);
    book.limits = CONTROLLER.learn(book.limits, book.rules[0]!, 500, 500);
    const changed = CONTROLLER.roll(book.limits, [rule(400)], 1);
    expect(changed['tokens']?.budget).toMatchObject({ current: 485, learned: 500, reference: 400 });
    expect(CONTROLLER.roll(book.limits, [rule(100)], 1)['tokens']?.budget.current).toBe(200);
  });

  it('without a budget any more measures the bounds from what learn mode would have found', () => {
    const book = new Book([rule(1000)]).roll(0);
    const configured = () => CONTROLLER.roll(book.limits, [rule(1000)], 1);
    book.limits = CONTROLLER.learn(book.limits, book.rules[0]!, 500, 520);
    const removed = CONTROLLER.roll(book.limits, [rule(null)], 1);
    expect(removed['tokens']?.budget).toEqual({
      current: 485,
      learned: 500,
      reference: 520,
      found: 520,
      source: 'learned',
    });
    expect(CONTROLLER.roll(removed, [rule(null)], 2), 'and then rests').toBe(removed);
    expect(CONTROLLER.roll(removed, [rule(1000)], 2), 'and may come back').toEqual(configured());
    // The floor of a budget that was raised held it above the learned limit.
    book.limits = CONTROLLER.roll(book.limits, [rule(10_000)], 1);
    expect(book.limit.budget.current).toBe(3000);
    expect(CONTROLLER.roll(book.limits, [rule(null)], 2)['tokens']?.budget.current).toBe(485);
  });

  it('keeps what three full windows have proven, when a budget comes and goes', () => {
    const book = new Book([rule(null)]).roll(0);
    book.limits = CONTROLLER.learn(book.limits, book.rules[0]!, 1000, 1200);
    for (const window of [0, 1, 2]) book.spend(900, window * WINDOW).roll((window + 1) * WINDOW);
    expect(book.limit.budget.reference).toBe(970);
    const bounded = CONTROLLER.roll(book.limits, [rule(700)], 4 * WINDOW);
    const free = CONTROLLER.roll(bounded, [rule(null)], 4 * WINDOW);
    expect(free['tokens']?.budget).toEqual(book.limit.budget);
  });

  it('starts from the new budget when nothing was learned, whatever the old one had grown to', () => {
    const book = fullBook();
    book.nudge(HOUR);
    expect(CONTROLLER.roll(book.limits, [rule(5000)], HOUR)['tokens']?.budget.current).toBe(5000);
    expect(CONTROLLER.roll(book.limits, [rule(null)], HOUR)['tokens']?.budget.current).toBeNull();
    expect(CONTROLLER.roll(book.limits, [rule(1000)], HOUR), 'the same: no change').toBe(
      book.limits,
    );
  });

  it('lets a window that is under way end by its new length', () => {
    const used = (windowMs: number, at: number, kind: 'fixed' | 'sliding' = 'fixed') => {
      const rules = [rule(1000, { windowMs, kind })];
      const { window, used: charged } = CONTROLLER.roll(book.limits, rules, at)['tokens']!;
      return [charged, window.endsAt, window.observed];
    };
    const book = new Book([rule(null)]).spend(5000, 0);
    expect(used(MINUTE, MINUTE - 1)).toEqual([5000, MINUTE, true]);
    expect(used(MINUTE, MINUTE), 'it is over').toEqual([0, null, true]);
    expect(used(MINUTE, MINUTE, 'sliding'), 'of whatever kind it is now').toEqual([0, null, true]);
    const bucket = (at: number) =>
      CONTROLLER.roll(book.limits, [rule(1000, { windowMs: MINUTE, kind: 'bucket' })], at)[
        'tokens'
      ]!;
    expect(bucket(MINUTE - 1)).toMatchObject({ used: 5000, bucket: { at: MINUTE - 1 } });
    expect(bucket(MINUTE), 'nothing is left to be put in').toMatchObject({ used: 0, bucket: null });
    // What was used before it began is missing.
    expect(used(2 * WINDOW, 1)).toEqual([5000, 2 * WINDOW, false]);
    expect(used(2 * WINDOW, WINDOW)).toEqual([5000, 2 * WINDOW, false]);
    const changed = CONTROLLER.roll(book.limits, [rule(null, { windowMs: HOUR })], MINUTE);
    const again = CONTROLLER.roll(changed, [rule(null, { windowMs: HOUR })], 2 * MINUTE);
    expect(again, 'it rests').toBe(changed);
  });

  it('learns anew what a window of another length holds, of whatever kind', () => {
    const book = new Book([rule(null)]).roll(0).spend(900, 0);
    book.limits = CONTROLLER.learn(book.limits, book.rules[0]!, 1000, 1000);
    const learned = (...[budget, others]: Parameters<typeof rule>) =>
      CONTROLLER.roll(book.limits, [rule(budget, others)], 1)['tokens']!.budget;
    expect(learned(null).learned).toBe(1000);
    expect(learned(null, { kind: 'bucket' }).learned, 'another kind of it').toBe(1000);
    for (const kind of ['fixed', 'sliding', 'bucket'] as const) {
      const other = { windowMs: HOUR, kind };
      expect(learned(null, other)).toMatchObject({ learned: null, current: null });
      expect(learned(500, other)).toMatchObject({ learned: null, current: 500 });
    }
  });

  it('takes an end that was stated for that of another length, and waits for one length at most', () => {
    const book = new Book([rule(1000)]).spend(900, 0);
    book.limits = CONTROLLER.stateReset(book.limits, 'tokens', 1, 4 * HOUR, 1);
    const endsAt = (windowMs: number) =>
      CONTROLLER.roll(book.limits, [rule(1000, { windowMs })], HOUR)['tokens']!.window.endsAt;
    expect([endsAt(WINDOW), endsAt(4 * HOUR), endsAt(HOUR)]).toEqual([
      4 * HOUR,
      4 * HOUR,
      2 * HOUR,
    ]);
  });

  it('leaves the budget between its new bounds when the window ends, wherever the learned limit lies', () => {
    const book = fullBook();
    book.limits = CONTROLLER.learn(book.limits, rule(1000), 500, 500);
    const raised = [rule(10_000)];
    book.limits = CONTROLLER.roll(book.limits, raised, HOUR);
    expect(book.limit.budget.current).toBe(3000);
    book.limits = CONTROLLER.roll(book.limits, raised, 2 * WINDOW);
    expect(book.limit.budget.current).toBe(3000);
    // One sample just above the floor: 3 % below it is less than that.
    const low = fullBook();
    low.limits = CONTROLLER.learn(low.limits, rule(1000), 301, 301);
    expect(low.roll(WINDOW).limit.budget.current).toBe(300);
  });
});

describe('a limit that left the configuration', () => {
  it('makes room where there are too many, the one first whose window ends soonest', () => {
    const book = new Book([rule(1000)]);
    for (let rename = 0; rename < 6; rename += 1) {
      const names = Array.from({ length: BOUNDS.limits }, (_, index) => `${rename}-${index}`);
      const rules = names.map((name) => rule(1000, { name }));
      const renamed = Object.assign(new Book(rules), { limits: book.limits });
      renamed.spend(10, rename);
      book.limits = renamed.limits;
      expect(Object.keys(book.limits)).toEqual(expect.arrayContaining(names));
    }
    const names = Object.keys(book.limits);
    expect(names).toHaveLength(BOUNDS.limitsEver);
    expect(names.filter((name) => name < '2')).toEqual([]);
  });

  it('is kept until its window ends', () => {
    const book = new Book([rule(1000), rule(50, { name: 'old', windowMs: HOUR })]).spend(10, 0);
    const without = (now: number) => Object.keys(CONTROLLER.roll(book.limits, [rule(1000)], now));
    expect(without(HOUR - 1)).toEqual(['tokens', 'old']);
    expect(without(HOUR)).toEqual(['tokens']);
  });
});

describe('whatever happens', () => {
  it('keeps the budget a whole number between floor and ceiling', () => {
    const event = fc.oneof(
      fc.record({ learn: fc.double({ min: 0, max: 1e15, noNaN: true }) }),
      fc.record({ hours: fc.integer({ min: 1, max: 30 }) }),
    );
    const settings = { nudge: 0.5, nudgeEveryMs: HOUR, minTrafficMs: 0, minUsed: 0 };
    fc.assert(
      fc.property(
        fc.array(event, { maxLength: 60, size: 'max' }),
        fc.integer({ min: 1, max: 1e12 }),
        (events, budget) => {
          const controller = new BudgetController(settings);
          const book = new Book([rule(budget)], controller);
          let now = 0;
          book.charge(budget, now);
          for (const step of events) {
            if ('learn' in step) {
              book.limits = controller.learn(book.limits, book.rules[0]!, step.learn, step.learn);
            } else {
              now += step.hours * HOUR;
              book.roll(now).charge(book.limit.budget.current ?? 0, now);
              book.nudge(now);
            }
            const current = book.limit.budget.current ?? Number.NaN;
            expect(Number.isSafeInteger(current)).toBe(true);
            expect(current).toBeGreaterThanOrEqual(Math.floor(budget * 0.3));
            expect(current).toBeLessThanOrEqual(Math.max(1, budget * 2));
          }
        },
      ),
    );
  });
});

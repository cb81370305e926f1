import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BOUNDS } from '../../src/state/scope-state.js';
import { Book, CONTROLLER, HOUR, MINUTE, rule, tokens, WINDOW } from './support.js';

const CELL = Math.ceil(WINDOW / (BOUNDS.cells - 2));

function slidingBook(budget: number | null = 1000): Book {
  return new Book([rule(budget, { kind: 'sliding' })]).roll(0);
}

describe('a sliding window', () => {
  it('frees what is older than its length, little by little', () => {
    const book = slidingBook()
      .spend(400, 0)
      .spend(600, 2 * HOUR);
    expect(book.charge(1, WINDOW)).toMatchObject({ kind: 'refused', until: WINDOW + CELL });
    expect(book.charge(401, WINDOW + CELL)).toMatchObject({ kind: 'refused' });
    expect(book.charge(400, WINDOW + CELL)).toMatchObject({ kind: 'charged' });
    expect(book.limit.used).toBe(1000);
  });

  it('says when there will be room for this request, not when all of it has freed', () => {
    const book = slidingBook()
      .spend(300, 0)
      .spend(300, HOUR)
      .spend(400, 2 * HOUR);
    const until = (amount: number) => {
      const outcome = book.charge(amount, 3 * HOUR);
      return outcome.kind === 'refused' ? outcome.until : null;
    };
    expect(until(300)).toBe(WINDOW + CELL);
    expect(until(301)).toBe(WINDOW + CELL + HOUR);
    expect(until(5000), 'an idle window takes any request').toBe(WINDOW + CELL + 2 * HOUR);
  });

  it('takes no stated wait for its end, and no success after a refusal for an early reset', () => {
    const book = slidingBook().spend(900, 0);
    const { window } = book.limit;
    book.limits = CONTROLLER.stateReset(book.limits, 'tokens', window.number, MINUTE, 1);
    expect(book.limit.window.endsAt).toBe(WINDOW + CELL);
    book.limits = CONTROLLER.noteRefusal(book.limits, book.rules, null, 1);
    const outcome = book.charge(50, 2);
    if (outcome.kind === 'refused') throw new Error('refused');
    const reopened = CONTROLLER.reopen(book.limits, book.rules, outcome.charge, 'a', 2);
    expect(reopened.limits).toBe(book.limits);
  });

  it('frees what was orphaned with the cell that it was charged in at the latest, however full it stays', () => {
    const book = slidingBook().spend(50, 0);
    book.charge(40, HOUR);
    book.limits = CONTROLLER.orphan(book.limits, book.rules, 'a');
    for (let at = HOUR; at < WINDOW + HOUR; at += HOUR / 4) {
      book.spend(5, at);
      expect(book.limit.orphaned).toBe(40);
    }
    book.spend(5, WINDOW + HOUR + CELL);
    expect(book.limit.used).toBeGreaterThan(90);
    expect(book.limit.orphaned).toBe(0);
  });

  it('counts what an answer cost beyond its estimate from now on, where its charge has freed', () => {
    const late = 1.5 * WINDOW;
    for (const spentAt of [null, late - WINDOW / 2]) {
      const book = slidingBook();
      const long = book.charge(100, 0);
      if (long.kind === 'refused') throw new Error('refused');
      if (spentAt !== null) book.spend(10, spentAt);
      book.roll(late);
      const rest = spentAt === null ? 0 : 10;
      expect(book.limit.used).toBe(rest);
      const { limits, rules } = book;
      book.limits = CONTROLLER.settle(limits, rules, long.charge, tokens(900), 'a', late);
      expect(book.limit.used).toBe(800 + rest);
      expect(book.roll(late + WINDOW).limit.used).toBe(800);
      expect(book.roll(late + WINDOW + CELL).limit.used).toBe(0);
    }
  });

  it('is seen whole again once what was there at a loss has freed', () => {
    const book = slidingBook().spend(100, 0);
    book.limits = CONTROLLER.distrust(book.limits, book.rules);
    for (let hour = 1; hour <= 5; hour += 1) book.spend(10, hour * HOUR);
    expect(book.limit.window.observed).toBe(false);
    expect(book.roll(WINDOW + CELL).limit.window.observed).toBe(true);
    expect(book.limit.used).toBe(50);
  });

  it('counts no less than what its length holds, no more than a cell besides, and stays bounded', () => {
    const event = fc.record({
      waitMs: fc.integer({ min: 0, max: 2 * HOUR }),
      amount: fc.integer({ min: 1, max: 1e12 }),
      actual: fc.option(fc.integer({ min: 0, max: 1e12 })),
    });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 120, size: 'max' }), (events) => {
        const book = slidingBook(null);
        const spent: { at: number; amount: number }[] = [];
        let now = 0;
        for (const { waitMs, amount, actual } of events) {
          now += waitMs;
          const outcome = book.charge(amount, now);
          if (outcome.kind === 'refused') throw new Error('without a budget nothing is refused');
          const cost = actual ?? amount;
          book.settleCharge(outcome.charge, cost, now);
          spent.push({ at: now, amount: cost });
          const within = (ms: number) =>
            spent.reduce(
              (sum, { at, amount: tokensOf }) => sum + (at + ms > now ? tokensOf : 0),
              0,
            );
          const { used, cells } = book.limit;
          expect(used).toBeGreaterThanOrEqual(within(WINDOW));
          expect(used).toBeLessThanOrEqual(within(WINDOW + CELL));
          expect(cells.length).toBeLessThanOrEqual(BOUNDS.cells);
        }
      }),
    );
  });

  it('gives its memory up when it has been idle for its length', () => {
    const book = slidingBook()
      .spend(900, 0)
      .roll(WINDOW + CELL);
    expect(book.limit).toMatchObject({ used: 0, cells: [], window: { endsAt: null } });
  });
});

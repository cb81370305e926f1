import { describe, expect, it } from 'vitest';
import { isOnPlateau } from '../../src/budget/growth.js';
import { Book, CONTROLLER, HOUR, rule, WINDOW } from './support.js';

/** A limit of 1,000 that `agreeing` samples tell of, refused at 0; used to the brim and asked for more. */
function knownBook(agreeing: number): Book {
  const book = new Book([rule(1500)]).roll(0).spend(985, 0);
  book.limits = CONTROLLER.noteRefusal(book.limits, book.rules, null, 0);
  book.limits = CONTROLLER.learn(book.limits, book.rules[0]!, 1000, 1000, agreeing);
  return book;
}

/** Uses the budget up at the start of the window that begins at `start`, and is refused one token. */
function fill(book: Book, start: number): void {
  book.roll(start).spend(book.limit.budget.current ?? 0, start);
  book.charge(1, start + 1);
}

describe('around a limit that was learned', () => {
  it('keeps a smaller margin once two samples agree', () => {
    expect(knownBook(1).limit.budget.current).toBe(970);
    expect(knownBook(2).limit.budget.current).toBe(985);
  });

  it.each([
    [1, 4],
    [2, 9],
    [3, 11],
    [20, 11],
  ])(
    'that %i samples agree on, stays for %i windows, then tries late in one',
    (agreeing, plateau) => {
      const book = knownBook(agreeing);
      fill(book, (plateau - 1) * WINDOW);
      expect(book.nudge(plateau * WINDOW - 1)).toMatchObject({ guard: 'near-limit' });
      fill(book, plateau * WINDOW);
      expect(book.nudge(plateau * WINDOW + 4 * HOUR - 1)).toMatchObject({ guard: 'near-limit' });
      const tried = book.nudge(plateau * WINDOW + 4 * HOUR + 1);
      expect(tried, 'a whole step, which finds out at once').toMatchObject({ kind: 'raised' });
    },
  );

  it('rests only while the budget is near the limit: from its margin to a hundredth beyond', () => {
    const { limit, rules } = knownBook(3);
    const rests = (current: number) =>
      isOnPlateau({ ...limit, budget: { ...limit.budget, current } }, rules[0]!, WINDOW);
    expect([984, 985, 1010, 1011].map(rests)).toEqual([false, true, true, false]);
  });

  it('does not try while nobody waits for room', () => {
    const book = knownBook(3);
    book.roll(11 * WINDOW).spend(950, 11 * WINDOW);
    expect(book.nudge(11 * WINDOW + 4 * HOUR + 1)).toMatchObject({ guard: 'near-limit' });
  });

  it('takes a try back that the upstream neither took nor refused', () => {
    const book = knownBook(3);
    fill(book, 11 * WINDOW);
    book.nudge(11 * WINDOW + 4 * HOUR + 1);
    book.roll(12 * WINDOW);
    expect(book.limit.budget.current).toBe(985);
  });

  it('goes on from what the upstream took, by whole steps once that is clearly beyond the limit', () => {
    const book = knownBook(3);
    const budgets: (number | null)[] = [];
    for (let hour = 0; hour < 4 * 5; hour += 1) {
      const now = 11 * WINDOW + hour * HOUR + 10;
      drain(book, now);
      if (hour % 5 > 0) book.nudge(now + 1);
      drain(book, now + 2);
      budgets.push(book.limit.budget.current);
    }
    expect(budgets[4], 'one step late in the first window').toBe(1015);
    expect(budgets[9]).toBeGreaterThan(1020);
    expect(budgets.at(-1)).toBeGreaterThan(1200);
  });
});

/** Uses up what is left of the budget, a little at a time, and is refused. */
function drain(book: Book, now: number): void {
  book.roll(now);
  while (book.limit.used + 5 <= (book.limit.budget.current ?? 0)) book.spend(5, now);
  book.charge(5, now);
}

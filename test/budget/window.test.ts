import { describe, expect, it } from 'vitest';
import type { LimitRules } from '../../src/budget/settings.js';
import { Book, CONTROLLER, HOUR, rule, WINDOW } from './support.js';

function charged(book: Book, amount: number, now: number) {
  const outcome = book.charge(amount, now);
  if (outcome.kind !== 'charged') throw new Error('refused');
  return outcome.charge;
}

describe('a fixed window', () => {
  it('is closed until the first admission, and ends after its length', () => {
    const book = new Book([rule(1000)]).roll(0);
    expect(book.limit.window).toMatchObject({ number: 0, startedAt: null, endsAt: null });
    book.spend(400, 7);
    expect(book.limit.window).toMatchObject({ number: 1, startedAt: 7, endsAt: 7 + WINDOW });
    expect(book.roll(6 + WINDOW).limit.used).toBe(400);
    book.roll(7 + WINDOW);
    expect(book.limit).toMatchObject({ used: 0, window: { number: 1, startedAt: null } });
    book.spend(10, 9 + WINDOW);
    expect(book.limit).toMatchObject({ used: 10, window: { number: 2, startedAt: 9 + WINDOW } });
  });

  it('begins, once a success shows it, with the request that the upstream took first', () => {
    const book = new Book([rule(1000)]);
    charged(book, 10, 0);
    const second = charged(book, 10, 100);
    book.limits = CONTROLLER.anchor(book.limits, book.rules, second, 100);
    expect(book.limit.window).toMatchObject({
      startedAt: 100,
      endsAt: 100 + WINDOW,
      anchored: true,
    });
    const third = charged(book, 10, 200);
    book.limits = CONTROLLER.anchor(book.limits, book.rules, third, 200);
    expect(book.limit.window.startedAt).toBe(100);
  });

  it('ends at the reset that the upstream states, the newest statement winning', () => {
    const book = new Book([rule(1000)]).spend(10, 0);
    const state = (resetAt: number, now: number, window = 1) => {
      book.limits = CONTROLLER.stateReset(book.limits, 'tokens', window, resetAt, now);
      return book.limit.window.endsAt;
    };
    expect(state(2 * HOUR, 10)).toBe(2 * HOUR);
    expect(state(6 * HOUR, 20)).toBe(6 * HOUR);
    expect(state(3 * HOUR, 30), 'earlier again').toBe(3 * HOUR);
    expect(state(25, 30), 'in the past').toBe(3 * HOUR);
    expect(state(30, 30), 'now').toBe(3 * HOUR);
    expect(state(4 * HOUR, 40, 0), 'from a request of an older window').toBe(3 * HOUR);
  });

  it('keeps the stated end when it is anchored', () => {
    const book = new Book([rule(1000)]);
    const charge = charged(book, 10, 0);
    book.limits = CONTROLLER.stateReset(book.limits, 'tokens', 1, HOUR, 10);
    book.limits = CONTROLLER.anchor(book.limits, book.rules, charge, 0);
    expect(book.limit.window).toMatchObject({ startedAt: 0, endsAt: HOUR, anchored: true });
  });

  it('is not observed when it opens in cautious mode', () => {
    const book = new Book([rule(1000)]);
    book.charge(10, 0, { cautious: true });
    expect(book.limit.window.observed).toBe(false);
    book.spend(10, WINDOW);
    expect(book.limit.window.observed).toBe(true);
  });

  it('moves as a whole when the clock is taken back', () => {
    const book = new Book([rule(1000)]).spend(10, 10 * HOUR);
    book.limits = CONTROLLER.shift(book.limits, book.rules, -8 * HOUR);
    expect(book.limit.window).toMatchObject({ startedAt: 2 * HOUR, endsAt: 7 * HOUR });
  });
});

describe('a window that the upstream has ended a moment before us', () => {
  const MINUTE = HOUR / 60;

  /** Whether the stated end of a request charged to the first window is that of the next one. */
  function turns(book: Book, resetAt: number, now: number, settled: number | null = null) {
    const before = book.limits;
    const [limitRules] = book.rules as [LimitRules];
    book.limits = CONTROLLER.turn(before, limitRules, { window: 1, settled }, resetAt, now);
    return book.limits !== before;
  }

  /** One of 700, with two requests in flight, whose end is known. */
  function nearItsEnd() {
    const book = new Book([rule(1000)]).spend(600, 0);
    const charges = [charged(book, 60, 10), charged(book, 40, 10)] as const;
    book.limits = CONTROLLER.stateReset(book.limits, 'tokens', 1, WINDOW, 10);
    return { book, charges };
  }

  it('is over with the first answer that states the end of the next', () => {
    const { book, charges } = nearItsEnd();
    expect(turns(book, 2 * WINDOW, WINDOW - MINUTE)).toBe(true);
    // Which of the two the upstream counts in its next window nobody tells.
    expect(book.limit).toMatchObject({
      used: 100,
      unsettled: {},
      window: { number: 2, startedAt: WINDOW - MINUTE, endsAt: 2 * WINDOW, observed: false },
    });
    // What the one cost less is not given back; what the other cost more counts.
    const [first, second] = charges;
    book.settleCharge(first, 20, 0);
    book.settleCharge(second, 45, 0);
    expect(book.limit).toMatchObject({ used: 105, unsettled: {}, orphaned: 0 });
    expect(turns(book, 2 * WINDOW, WINDOW), 'told again').toBe(false);
    expect(book.roll(2 * WINDOW).limit.used).toBe(0);
  });

  it('counts what the request that tells has cost, where that is settled', () => {
    const { book, charges } = nearItsEnd();
    book.settleCharge(charges[0], 500, 0);
    expect(turns(book, 2 * WINDOW, WINDOW - 1, 500)).toBe(true);
    expect(book.limit.used).toBe(540);
  });

  it.each([
    ['its end is not near', 2 * WINDOW, WINDOW - MINUTE - 1],
    ['less than a length lies between', 2 * WINDOW - MINUTE - 1, WINDOW - 1],
    ['more than a length lies between', 2 * WINDOW + MINUTE + 1, WINDOW - 1],
  ] as const)('goes on where %s', (_why, resetAt, now) => {
    const { book } = nearItsEnd();
    expect(turns(book, resetAt, now)).toBe(false);
    expect(book.limit).toMatchObject({ used: 700, window: { number: 1 } });
  });

  it('goes on where its end was not known', () => {
    const book = new Book([rule(1000)]).spend(600, 0);
    charged(book, 60, 10);
    expect(turns(book, 2 * WINDOW, WINDOW - 1)).toBe(false);
    expect(book.limit).toMatchObject({ used: 660, window: { number: 1 } });
  });

  it('is told apart within a fiftieth of its length, where that is short', () => {
    for (const [beforeMs, turned] of [
      [1_200, true],
      [1_201, false],
    ] as const) {
      const book = new Book([rule(1000, { windowMs: MINUTE })]).spend(600, 0);
      charged(book, 60, 10);
      book.limits = CONTROLLER.stateReset(book.limits, 'tokens', 1, MINUTE, 10);
      expect(turns(book, 2 * MINUTE, MINUTE - beforeMs)).toBe(turned);
    }
  });
});

describe('a window that the upstream reset early', () => {
  it('begins anew with the routine probe that found out, if the upstream had refused in it', () => {
    const book = new Book([rule(1000)]).spend(600, 0);
    book.limits = CONTROLLER.noteRefusal(book.limits, book.rules, 'tokens', HOUR);
    const probe = charged(book, 50, 2 * HOUR);
    const reopened = CONTROLLER.reopen(book.limits, book.rules, probe, 'a', 2 * HOUR);
    book.limits = reopened.limits;
    expect(book.limit).toMatchObject({
      used: 50,
      unsettled: { a: 50 },
      window: { number: 2, startedAt: 2 * HOUR, endsAt: 2 * HOUR + WINDOW },
    });
    book.limits = CONTROLLER.settle(
      book.limits,
      book.rules,
      reopened.outcome,
      { requests: 1, inputTokens: 70, outputTokens: 0 },
      'a',
      0,
    );
    expect(book.limit).toMatchObject({ used: 70, unsettled: {} });
    expect(book.limit.control.accepted, 'it says nothing about the window before').toBe(0);
  });

  it('goes on if the upstream had not refused in it: success then proves nothing', () => {
    const book = new Book([rule(1000)]).spend(600, 0);
    const probe = charged(book, 50, 2 * HOUR);
    const { limits, outcome } = CONTROLLER.reopen(book.limits, book.rules, probe, 'a', 2 * HOUR);
    expect(limits).toBe(book.limits);
    expect(outcome).toEqual(probe);
  });
});

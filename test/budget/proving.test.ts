import { describe, expect, it } from 'vitest';
import { Book, CONTROLLER, HOUR, MINUTE, rule, WINDOW } from './support.js';

/** Learn mode where windows don't end: what takes the place of three full windows in a row. */

/** Of 60,000 a minute, as one sample told: a budget of 58,200. */
function bucketBook(budget: number | null = null): Book {
  const bucket = rule(budget, { kind: 'bucket', windowMs: MINUTE });
  const book = new Book([bucket]).roll(0);
  book.limits = CONTROLLER.learn(book.limits, bucket, 60_000, 60_000);
  return book;
}

interface Demand {
  readonly from: number;
  readonly to: number;
  /** Tokens asked for in 10 s; what finds no room comes to nothing. */
  readonly asked?: number;
  /** Without it the job only looks: no budget moves but by what it proves. */
  readonly raises?: boolean;
}

/** Requests of 200 tokens and more, one after another, and the job's look once a minute. */
function ask(book: Book, { from, to, asked = 12_000, raises = false }: Demand): Book {
  for (let now = from; now < to; now += 10_000) {
    for (let part = 0; part < 4; part += 1) {
      const outcome = book.charge(asked / 4, now + part * 2_500);
      if (outcome.kind === 'refused') continue;
      const cost = { requests: 1, inputTokens: asked / 4, outputTokens: 0 };
      book.limits = CONTROLLER.settle(book.limits, book.rules, outcome.charge, cost, 'a', now);
    }
    const context = raises ? {} : { firstAdmittedAt: null };
    if (now % MINUTE === 0) book.nudge(now + 9_000, context);
  }
  return book;
}

function refuse(book: Book, now: number): void {
  book.limits = CONTROLLER.noteRefusal(book.limits, book.rules, null, now);
}

describe('a bucket', () => {
  it('that is asked for all of its budget for 4.5 hours, and never refuses, proves it', () => {
    const book = ask(bucketBook(), { from: 0, to: 4.5 * HOUR });
    expect(book.limit.budget).toMatchObject({ current: 58_200, reference: 60_000 });
    ask(book, { from: 4.5 * HOUR, to: 5 * HOUR });
    expect(book.limit.budget).toMatchObject({ current: 58_200, reference: 58_200 });
  });

  it('proves nothing in three minutes, nor before ten lengths of it', () => {
    expect(ask(bucketBook(), { from: 0, to: 3 * MINUTE }).limit.control.full).toBeNull();
    expect(ask(bucketBook(), { from: 0, to: 30 * MINUTE }).limit.control.full).not.toBeNull();
  });

  it('begins anew with a refusal', () => {
    const book = ask(bucketBook(), { from: 0, to: 3 * HOUR });
    refuse(book, 3 * HOUR);
    expect(book.limit.control.full).toBeNull();
    ask(book, { from: 3 * HOUR, to: 7 * HOUR });
    expect(book.limit.budget.reference).toBe(60_000);
  });

  it('bears a pause, but none of 90 minutes', () => {
    for (const [pauseMs, reference] of [
      [80 * MINUTE, 58_200],
      [100 * MINUTE, 60_000],
    ] as const) {
      const book = ask(bucketBook(), { from: 0, to: 3 * HOUR });
      ask(book, { from: 3 * HOUR + pauseMs, to: 6 * HOUR });
      expect(book.limit.budget.reference, `${pauseMs}`).toBe(reference);
    }
  });

  it('that is used by half proves nothing; one that is filled at once, again and again, does', () => {
    const half = ask(bucketBook(), { from: 0, to: 6 * HOUR, asked: 5_000 });
    expect(half.limit.control.full).toBeNull();
    const burst = bucketBook();
    for (let minute = 0; minute < 5 * 60; minute += 5) {
      burst.spend(58_000, minute * MINUTE).nudge(minute * MINUTE + 1, { firstAdmittedAt: null });
    }
    expect(burst.limit.budget.reference).toBe(58_200);
  });

  it('leaves the operator’s budget the measure', () => {
    const book = ask(bucketBook(50_000), { from: 0, to: 6 * HOUR });
    expect(book.limit.budget.reference).toBe(50_000);
    expect(book.limit.control.full).toBeNull();
  });

  it('whose limit has risen is followed beyond twice of what was ever learned', () => {
    const book = ask(bucketBook(), { from: 0, to: 34 * HOUR, asked: 48_000, raises: true });
    expect(book.limit.budget.current).toBeGreaterThan(2 * 60_000);
  });

  it('is tried again after its rest while it is asked for all, at whatever moment the job looks', () => {
    const tried = (asked: number) => {
      const book = bucketBook();
      refuse(book, 0);
      ask(book, { from: 0, to: 6.5 * HOUR, asked, raises: true });
      return book.limit.control.nudgedAt;
    };
    // One sample: four rests of 90 minutes.
    expect(tried(12_000)).toBe(6 * HOUR + 9_000);
    expect(tried(5_000), 'a limit that nobody asks for').toBeNull();
  });
});

describe('a sliding window', () => {
  it('that is found full for three lengths proves its budget', () => {
    const sliding = rule(null, { kind: 'sliding' });
    const book = new Book([sliding]).roll(0);
    book.limits = CONTROLLER.learn(book.limits, sliding, 6_000, 6_000);
    const steps = (from: number, to: number) => {
      for (let now = from; now < to; now += 5 * MINUTE) {
        if (book.charge(95, now).kind === 'charged') {
          book.limits = CONTROLLER.orphan(book.limits, book.rules, 'a');
        }
        book.nudge(now, { firstAdmittedAt: null });
      }
    };
    steps(0, 3 * WINDOW);
    expect(book.limit.budget).toMatchObject({ current: 5_820, reference: 6_000 });
    steps(3 * WINDOW, 4 * WINDOW);
    expect(book.limit.budget).toMatchObject({ current: 5_820, reference: 5_820 });
  });
});

it('the run moves with a clock that was set back', () => {
  const book = ask(bucketBook(), { from: HOUR, to: 2 * HOUR });
  const { since, until } = book.limit.control.full!;
  book.limits = CONTROLLER.shift(book.limits, book.rules, -HOUR);
  expect(book.limit.control.full).toEqual({ since: since - HOUR, until: until - HOUR });
});

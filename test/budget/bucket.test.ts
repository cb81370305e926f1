import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bucketRoomAt, drain } from '../../src/budget/bucket.js';
import { provenUse } from '../../src/budget/charges.js';
import { BOUNDS, type LimitState } from '../../src/state/scope-state.js';
import { Book, CONTROLLER, HOUR, MINUTE, rule, tokens } from './support.js';

const RULE = rule(60_000, { kind: 'bucket', windowMs: MINUTE });

/** A bucket of 60,000 a minute: a token a millisecond. */
function bucketBook(budget: number | null = 60_000): Book {
  return new Book([{ ...RULE, budget }]).roll(0);
}

function charged(book: Book, amount: number, now: number) {
  const outcome = book.charge(amount, now);
  if (outcome.kind === 'refused') throw new Error(`refused at ${now}`);
  return outcome.charge;
}

function settle(book: Book, charge: ReturnType<typeof charged>, cost: number): void {
  book.settleCharge(charge, cost, 0);
}

describe('a bucket', () => {
  it('drains without pause, and says to the millisecond when there is room', () => {
    const book = bucketBook().spend(60_000, 0);
    expect(book.charge(1, 0)).toMatchObject({ kind: 'refused', until: 1 });
    expect(book.charge(500, 100)).toMatchObject({ kind: 'refused', until: 500 });
    expect(book.charge(500, 499)).toMatchObject({ kind: 'refused', until: 500 });
    expect(book.charge(500, 500)).toMatchObject({ kind: 'charged' });
    expect(book.limit.used).toBe(60_000);
    expect(book.roll(30_500).limit.used).toBe(30_000);
    expect(book.roll(HOUR).limit).toMatchObject({ used: 0, window: { endsAt: null } });
  });

  it('takes any single request when it is empty', () => {
    const book = bucketBook();
    expect(book.charge(500_000, 0)).toMatchObject({ kind: 'charged' });
    expect(book.charge(500_000, 1)).toMatchObject({ kind: 'refused', until: 500_000 });
    expect(book.charge(500_000, 499_999)).toMatchObject({ kind: 'refused' });
    expect(book.charge(500_000, 500_000)).toMatchObject({ kind: 'charged' });
  });

  it('drains at its floor while the scope is cautious', () => {
    const book = bucketBook().spend(10_000, 0);
    const limits = CONTROLLER.roll(book.limits, book.rules, 10_000, true);
    expect(limits['tokens']?.used).toBe(7_000);
  });

  it('takes no more for orphaned than it holds after a refund', () => {
    const book = bucketBook();
    charged(book, 10_000, 0);
    book.limits = CONTROLLER.orphan(book.limits, book.rules, 'a');
    const second = charged(book, 5_000, 0);
    book.roll(7_500);
    expect(book.limit).toMatchObject({ used: 7_500, orphaned: 5_000 });
    settle(book, second, 0);
    expect(book.limit).toMatchObject({ used: 2_500, orphaned: 2_500 });
  });

  it('gives back what was charged too much, but not what would have drained anyway', () => {
    const book = bucketBook();
    settle(book, charged(book, 40_000, 0), 10_000);
    expect(book.limit.used).toBe(10_000);
    // Half of an hour's estimate has drained, and at the true cost the bucket would be empty.
    const late = charged(book, 40_000, 10_000);
    book.spend(500, 40_000);
    settle(book, late, 1_000);
    // One token for what is rounded.
    expect(book.limit.used).toBe(501);
    // It was empty meanwhile: nothing is left to give back.
    const later = charged(book, 1_000, 120_000);
    book.spend(700, 125_000);
    settle(book, later, 0);
    expect(book.limit.used).toBe(700);
  });

  it('counts what was charged too little, whenever that is known', () => {
    const book = bucketBook();
    const first = charged(book, 100, 0);
    book.roll(5 * MINUTE);
    settle(book, first, 20_100);
    expect(book.limit.used).toBe(20_000);
    const second = charged(book, 100, 6 * MINUTE);
    book.roll(HOUR);
    settle(book, second, 20_100);
    expect(book.limit.used).toBe(20_000);
  });

  it('keeps what was orphaned in its level, in proportion as it drains', () => {
    const book = bucketBook().spend(30_000, 0);
    book.charge(10_000, 0);
    book.limits = CONTROLLER.orphan(book.limits, book.rules, 'a');
    expect(book.limit).toMatchObject({ used: 40_000, orphaned: 10_000 });
    expect(book.roll(20_000).limit).toMatchObject({ used: 20_000, orphaned: 5_000 });
    expect(book.roll(40_000).limit).toMatchObject({ used: 0, orphaned: 0 });
  });

  it('tells the limit from what it took, without what was orphaned', () => {
    // Of an upstream that grants 40,000: at half as much again, an empty bucket of it is full after two minutes.
    const book = bucketBook();
    for (let second = 0; second < 120; second += 1) book.spend(1_000, second * 1_000);
    const measured = CONTROLLER.measure(book.limits, RULE, 2 * MINUTE);
    expect(measured?.tokens).toBe(40_000);
    book.charge(6_000, 2 * MINUTE);
    book.limits = CONTROLLER.orphan(book.limits, book.rules, 'a');
    expect(CONTROLLER.measure(book.limits, RULE, 2 * MINUTE)?.tokens).toBe(40_000);
  });

  it('is full once the upstream has refused for it, whatever comes back', () => {
    const book = bucketBook();
    const flying = charged(book, 5_000, 0);
    book.limits = CONTROLLER.noteFull(book.limits, book.rules, 'tokens', false, 1_000);
    settle(book, flying, 0);
    expect(book.limit.used).toBe(66_000);
    expect(book.charge(1, 1_000)).toMatchObject({ kind: 'refused', until: 7_001 });
    book.limits = CONTROLLER.learn(book.limits, RULE, 40_000, 40_000);
    expect(book.limit).toMatchObject({ used: 40_000, budget: { current: 38_800 } });
  });

  it('tells nothing for certain of what it took until two lengths after a refusal filled it', () => {
    const book = bucketBook();
    book.limits = CONTROLLER.noteRefusal(book.limits, book.rules, 'tokens', 0);
    book.limits = CONTROLLER.noteFull(book.limits, book.rules, 'tokens', false, 0);
    const filled = { ...book.spend(30_000, MINUTE).limit };
    const proven = (now: number) => provenUse(filled, RULE, now);
    expect([2 * MINUTE - 1, 2 * MINUTE].map(proven)).toEqual([0, filled.used]);
  });

  it('remembers what it took for two hours of minutes, and since when it was full for as long', () => {
    const book = bucketBook().spend(500, 0);
    book.limits = CONTROLLER.noteFull(book.limits, book.rules, 'tokens', false, MINUTE);
    const instants = () => (book.limit.bucket?.history ?? []).map(({ at }) => at);
    const fullAt = () => book.limit.bucket?.history.filter(({ full }) => full).map(({ at }) => at);
    for (let minute = 5; minute < 120; minute += 1) {
      book.spend(10, minute * MINUTE);
      expect(instants()[0]).toBe(0);
      expect(fullAt()).toEqual([MINUTE]);
    }
    book.spend(10, 120 * MINUTE);
    expect(instants()[0]).toBe(MINUTE);
    book.spend(10, 121 * MINUTE);
    expect(fullAt()).toEqual([]);
  });

  it('takes no statement for its end, and no success for an early reset', () => {
    const book = bucketBook().spend(1_000, 0);
    const { number } = book.limit.window;
    const { limits } = book;
    expect(CONTROLLER.stateReset(limits, 'tokens', number, 30_000, 1)).toBe(limits);
    const teller = { window: number, settled: null };
    expect(CONTROLLER.turn(limits, RULE, teller, 30_000, 1)).toBe(limits);
    book.limits = CONTROLLER.noteRefusal(book.limits, book.rules, null, 1);
    const charge = charged(book, 10, 2);
    const reopened = CONTROLLER.reopen(book.limits, book.rules, charge, 'a', 2);
    expect(reopened.limits).toBe(book.limits);
  });

  it('is seen whole again once its history is younger than a loss', () => {
    const book = bucketBook().spend(10_000, 0);
    book.limits = CONTROLLER.distrust(book.limits, book.rules);
    for (let minute = 1; minute < BOUNDS.history; minute += 1) book.spend(10, minute * MINUTE);
    expect(book.limit.window.observed).toBe(false);
    expect(book.roll(BOUNDS.history * MINUTE).limit.window.observed).toBe(true);
  });

  it('moves with a clock that was set back', () => {
    const book = bucketBook().spend(30_000, HOUR);
    book.limits = CONTROLLER.shift(book.limits, book.rules, -HOUR);
    expect(book.roll(10_000).limit.used).toBe(20_000);
  });

  it('without a budget holds what its last length took', () => {
    const book = bucketBook(null);
    for (let minute = 0; minute < 10; minute += 1) book.spend(500, minute * MINUTE);
    expect(book.limit.used).toBe(1_000);
    expect(book.roll(HOUR).limit.used).toBe(0);
  });

  it('whose budget becomes known drains from that moment on, and not from when it was last charged', () => {
    const book = bucketBook(null).spend(50_000, 0);
    book.roll(59_000);
    book.limits = CONTROLLER.learn(book.limits, RULE, 60_000, 60_000);
    expect(book.roll(59_000).limit.used).toBe(50_000);
    // 60,000 a minute, at 0.97 of what one sample tells.
    const { used, budget } = book.roll(59_000 + 10_000).limit;
    expect(used).toBe(50_000 - Math.floor((10_000 * budget.current!) / MINUTE));
  });

  it('without a budget corrects what was charged, though nobody knows how it drains', () => {
    const book = bucketBook(null);
    const first = charged(book, 1_000, 0);
    const second = charged(book, 1_000, 0);
    settle(book, second, 10);
    expect(book.limit.used).toBe(2_000);
    settle(book, first, 2_000);
    expect(book.limit.used).toBe(3_000);
    expect(CONTROLLER.measure(book.limits, book.rules[0]!, 1)?.tokens).toBe(2_009);
  });

  it('becomes another kind, and another kind a bucket, with what it holds', () => {
    const book = bucketBook().spend(9_000, 0);
    const change = (kind: 'fixed' | 'sliding' | 'bucket', now: number) => {
      const changed = new Book([{ ...RULE, kind }]);
      changed.limits = book.limits;
      return changed.roll(now).limit;
    };
    for (const kind of ['fixed', 'sliding'] as const) {
      const limit = change(kind, 0);
      expect(limit).toMatchObject({ used: 9_000, bucket: null, window: { observed: false } });
      book.limits = { tokens: limit };
      expect(change('bucket', 1_000), kind).toMatchObject({ used: 9_000, cells: [] });
      expect(change('bucket', 1_000).bucket).not.toBeNull();
    }
  });

  it('does not change by being looked at', () => {
    const book = bucketBook().spend(60_000, 0);
    const slow = new Book([{ ...RULE, budget: 1 }]);
    slow.limits = CONTROLLER.roll(book.limits, slow.rules, 1);
    const { limits } = slow;
    expect(slow.roll(59_999).limits).toBe(limits);
    expect(slow.roll(60_000).limit.used).toBe(59_999);
    expect(
      bucketBook()
        .roll(HOUR)
        .roll(2 * HOUR).limit.bucket,
    ).toBeNull();
  });
});

/** Every request in a list, the level counted anew from the first one each time. */
class Exact {
  readonly charges: { readonly at: number; amount: number }[] = [];

  constructor(private readonly perMs: number) {}

  level(now: number): number {
    let level = 0;
    let at = 0;
    for (const charge of this.charges) {
      level = Math.max(0, level - (charge.at - at) * this.perMs) + charge.amount;
      ({ at } = charge);
    }
    return Math.max(0, level - (now - at) * this.perMs);
  }
}

describe('whatever happens to a bucket', () => {
  const event = fc.record({
    waitMs: fc.nat(20_000),
    amount: fc.integer({ min: 1, max: 40_000 }),
    actual: fc.integer({ min: 0, max: 60_000 }),
    settles: fc.nat(3),
    looks: fc.array(fc.nat(5_000), { maxLength: 3 }),
  });

  it('it never holds less than one that knew the costs, and admits no more than a budget', () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60, size: 'max' }), (events) => {
        const book = bucketBook();
        const exact = new Exact(1);
        const open: { charge: ReturnType<typeof charged>; of: { amount: number } }[] = [];
        let now = 0;
        for (const { waitMs, amount, actual, settles, looks } of events) {
          now += waitMs;
          for (const look of looks) book.roll((now += look));
          const before = book.roll(now).limit.used;
          const outcome = book.charge(amount, now);
          if (outcome.kind === 'charged') {
            expect(before === 0 || book.limit.used <= 60_000).toBe(true);
            const of = { at: now, amount };
            exact.charges.push(of);
            open.push({ charge: outcome.charge, of });
          } else {
            const { until } = outcome;
            expect(until).toBeGreaterThan(now);
            const at = (instant: number) =>
              CONTROLLER.charge(
                CONTROLLER.roll(book.limits, book.rules, instant),
                book.rules,
                { cost: tokens(amount), instance: 'a', cautious: false },
                instant,
              ).outcome.kind;
            expect(at(until)).toBe('charged');
            expect(at(until - 1)).toBe('refused');
          }
          for (const { charge, of } of open.splice(0, settles)) {
            of.amount = actual;
            settle(book, charge, actual);
          }
          const { used, bucket, orphaned } = book.limit;
          expect(used).toBeGreaterThanOrEqual(exact.level(now));
          expect(orphaned).toBeLessThanOrEqual(used);
          expect(bucket?.history.length ?? 0).toBeLessThanOrEqual(BOUNDS.history);
          for (const { low } of bucket?.history ?? []) expect(low).toBeGreaterThanOrEqual(0);
        }
      }),
    );
  });

  it('without a budget it holds what can be written down, and no less than is in flight now', () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60, size: 'max' }), (events) => {
        const book = bucketBook(null);
        const open: ReturnType<typeof charged>[] = [];
        let now = 0;
        for (const { waitMs, amount, actual, settles, looks } of events) {
          now += waitMs;
          for (const look of looks) book.roll((now += look));
          open.push(charged(book, amount, now));
          for (const charge of open.splice(0, settles)) settle(book, charge, actual);
          const { used, orphaned, bucket } = book.limit;
          const figures = [used, orphaned, bucket?.at, bucket?.carry, bucket?.lowered];
          const cells = bucket?.history.flatMap(({ at, amount: sum, low }) => [at, sum, low]);
          for (const figure of [...figures, ...(cells ?? [])]) {
            expect(Number.isFinite(figure) && (figure ?? -1) >= 0).toBe(true);
          }
          if (settles === 0) expect(used).toBeGreaterThanOrEqual(amount);
        }
      }),
    );
  });

  it('it holds exactly that, where estimates are right', () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60, size: 'max' }), (events) => {
        const book = bucketBook(null);
        book.limits = CONTROLLER.roll({}, [RULE], 0);
        const exact = new Exact(1);
        let now = 0;
        for (const { waitMs, amount, looks } of events) {
          now += waitMs;
          for (const look of looks)
            book.limits = CONTROLLER.roll(book.limits, [RULE], (now += look));
          const request = { cost: tokens(amount), instance: 'a', cautious: false };
          const forced = CONTROLLER.force(
            CONTROLLER.roll(book.limits, [RULE], now),
            [RULE],
            request,
            now,
          );
          exact.charges.push({ at: now, amount });
          book.limits = CONTROLLER.settle(
            forced.limits,
            [RULE],
            forced.outcome.charge,
            tokens(amount),
            'a',
            now,
          );
          expect(book.limit.used).toBe(exact.level(now));
        }
      }),
    );
  });

  it('looking more often drains no less and no more, at any magnitude', () => {
    const magnitude = fc.record({
      budget: fc.integer({ min: 1, max: 1_000_000_000_000 }),
      windowMs: fc.integer({ min: 1_000, max: 366 * 24 * HOUR }),
      used: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
      looks: fc.array(fc.integer({ min: 1, max: 40 * 24 * HOUR }), { minLength: 1, maxLength: 20 }),
    });
    fc.assert(
      fc.property(magnitude, ({ budget, windowMs, used, looks }) => {
        const own = rule(budget, { kind: 'bucket', windowMs });
        const window = {
          number: 1,
          startedAt: 0,
          endsAt: 1e15,
          anchored: true,
          stated: false,
          lengthMs: null,
          observed: true,
        };
        const start: LimitState = {
          ...new Book([own]).limit,
          window,
          used,
          bucket: {
            at: 0,
            carry: 0,
            lowered: 0,
            history: [{ at: 0, amount: 1, low: used, full: false }],
          },
        };
        let stepwise = start;
        let now = 0;
        for (const look of looks) stepwise = drain(stepwise, own, budget, (now += look));
        const once = drain(start, own, budget, now);
        expect(stepwise.used).toBe(once.used);
        const exact = BigInt(used) - (BigInt(now) * BigInt(budget)) / BigInt(windowMs);
        expect(BigInt(once.used)).toBe(exact < 0n ? 0n : exact);
        const at = bucketRoomAt(once, own, 1, budget, now);
        expect(Number.isSafeInteger(at)).toBe(true);
      }),
    );
  });
});

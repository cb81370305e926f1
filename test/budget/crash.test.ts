import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Charge } from '../../src/budget/budget-controller.js';
import type { WindowKind } from '../../src/budget/settings.js';
import { Book, CONTROLLER, HOUR, rule } from './support.js';

/** The law of the house, for the budget by itself: a crash never lets more through than no crash would have. */

const BUDGET = 4;
/** A request of one token, the settlement of one of those before at what it cost, or time. */
type Event = 'ask' | 'pass' | { readonly settles: number; readonly cost: 0 | 1 };

/** How many requests have been admitted after each event, with a crash before one of them. */
function admissions(kind: WindowKind, events: readonly Event[], crashAt: number | null): number[] {
  const book = new Book([rule(BUDGET, { kind, windowMs: HOUR })]).roll(0);
  const flying = new Map<number, Charge>();
  let asked = 0;
  let admitted = 0;
  let now = 0;
  return events.map((event, index) => {
    if (index === crashAt) {
      book.limits = CONTROLLER.orphan(book.limits, book.rules, 'a');
      flying.clear();
    }
    now += event === 'pass' ? HOUR / 2 + 1 : 1;
    book.roll(now);
    if (event === 'ask') {
      asked += 1;
      const outcome = book.charge(1, now);
      if (outcome.kind === 'charged') {
        admitted += 1;
        flying.set(asked, outcome.charge);
      }
    } else if (event !== 'pass') {
      const charge = flying.get(event.settles);
      flying.delete(event.settles);
      if (charge === undefined) return admitted;
      book.settleCharge(charge, event.cost, now);
    }
    return admitted;
  });
}

describe.each<WindowKind>(['fixed', 'sliding'])('a %s window', (kind) => {
  it('with a crash at any step admits no more than without one', () => {
    const event: fc.Arbitrary<Event> = fc.oneof(
      fc.constant('ask' as const),
      fc.constant('pass' as const),
      fc.record({ settles: fc.integer({ min: 1, max: 15 }), cost: fc.constantFrom(0 as const, 1) }),
    );
    const sequence = fc.array(event, { minLength: 1, maxLength: 30, size: 'max' });
    fc.assert(
      fc.property(sequence, fc.nat(29), (events, crashAt) => {
        const whole = admissions(kind, events, null);
        const crashed = admissions(kind, events, crashAt);
        for (const [index, count] of crashed.entries()) {
          expect(count).toBeLessThanOrEqual(whole[index] as number);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('keeps whole its sums and its waits at any magnitude: no NaN, no infinity, no wait in the past', () => {
    const amount = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });
    const step = fc.record({ amount, actual: amount, passMs: fc.nat(2 * HOUR) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40, size: 'max' }), amount, (steps, budget) => {
        const book = new Book([rule(budget, { kind, windowMs: HOUR })]);
        let now = 0;
        for (const { amount: estimate, actual, passMs } of steps) {
          now += passMs;
          const outcome = book.charge(estimate, now);
          if (outcome.kind === 'refused') expect(outcome.until).toBeGreaterThan(now);
          else {
            const { charge } = outcome;
            book.settleCharge(charge, actual, now);
          }
          book.nudge(now);
          const { used, orphaned, budget: state } = book.limit;
          for (const figure of [used, orphaned, state.current]) {
            expect(Number.isFinite(figure) && Number(figure) >= 0).toBe(true);
          }
        }
      }),
    );
  });

  it('tells those it refuses the same end, or an earlier one, while nothing more is charged', () => {
    const asks = fc.array(fc.nat(HOUR / 10), { minLength: 1, maxLength: 10 });
    fc.assert(
      fc.property(asks, (gaps) => {
        const book = new Book([rule(BUDGET, { kind, windowMs: HOUR })]);
        for (let spent = 0; spent < BUDGET; spent += 1) book.spend(1, spent);
        let now = BUDGET;
        let told = Infinity;
        for (const gap of gaps) {
          now += gap;
          const outcome = book.charge(1, now);
          if (outcome.kind === 'charged') return;
          expect(outcome.until).toBeLessThanOrEqual(told);
          told = outcome.until;
        }
      }),
    );
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Charge } from '../../src/budget/budget-controller.js';
import { reservedOf } from '../../src/budget/limits.js';
import type { LimitRules } from '../../src/budget/settings.js';
import { Book, CONTROLLER, rule, tokens, WINDOW } from './support.js';

describe('admission', () => {
  it('charges the estimate, and refuses what the budget has no room for until the window ends', () => {
    const book = new Book([rule(1000)]);
    expect(book.charge(600, 0)).toMatchObject({ kind: 'charged' });
    expect(book.charge(401, 1)).toMatchObject({ kind: 'refused', limit: 'tokens', until: WINDOW });
    expect(book.charge(400, 2)).toMatchObject({ kind: 'charged' });
    expect(book.limit.used).toBe(1000);
    expect(book.charge(1, WINDOW)).toMatchObject({ kind: 'charged' });
  });

  it('never refuses a single request in an idle window, however large its estimate', () => {
    const book = new Book([rule(1000)]);
    expect(book.charge(50_000, 0)).toMatchObject({ kind: 'charged' });
    expect(book.limit.used).toBe(50_000);
    expect(book.charge(1, 1).kind).toBe('refused');
  });

  it('charges every limit or none', () => {
    const rules = [
      rule(1000),
      rule(2, { name: 'calls', unit: 'requests', windowMs: 60_000 }),
      rule(null, { name: 'output', unit: 'output_tokens' }),
    ];
    const book = new Book(rules);
    book.charge(10, 0);
    book.charge(10, 1);
    expect(book.charge(10, 2)).toEqual({
      kind: 'refused',
      limit: 'calls',
      full: ['calls'],
      promised: false,
      until: 60_000,
    });
    expect(book.limits['tokens']?.used).toBe(20);
    expect(book.limits['calls']?.used).toBe(2);
    expect(book.charge(10, 60_000).kind).toBe('charged');
    expect(book.limits['tokens']?.used).toBe(30);
  });

  it('lets everything pass while there is no budget, and still counts it', () => {
    const book = new Book([rule(null)]);
    expect(book.charge(1e9, 0).kind).toBe('charged');
    expect(book.charge(1e9, 1).kind).toBe('charged');
    expect(book.limit).toMatchObject({ used: 2e9, budget: { current: null, source: 'none' } });
  });

  it('holds the budget at its floor in cautious mode, which is no reason to raise it later', () => {
    const book = new Book([rule(1000)]);
    expect(book.charge(300, 0, { cautious: true }).kind).toBe('charged');
    expect(book.charge(1, 1, { cautious: true }).kind).toBe('refused');
    expect(book.limit.control.inTheWay).toBe(false);
    expect(book.charge(700, 2).kind).toBe('charged');
  });

  it('remembers the smallest request it refused, without writing for every refusal', () => {
    const book = new Book([rule(1000)]);
    book.charge(900, 0);
    book.charge(500, 5);
    expect(book.limit.control.denied).toEqual({ at: 5, amount: 500 });
    const before = book.limits;
    book.charge(500, 6);
    book.charge(600, 7);
    expect(book.limits).toBe(before);
    book.charge(200, 8);
    expect(book.limit.control.denied).toEqual({ at: 5, amount: 200 });
  });
});

describe('settlement', () => {
  it('replaces the estimate by the cost, both ways', () => {
    const book = new Book([rule(1000)]);
    const high = book.charge(500, 0);
    const low = book.charge(100, 0);
    if (high.kind !== 'charged' || low.kind !== 'charged') throw new Error('refused');
    book.settleCharge(high.charge, 30, 0);
    expect(book.limit).toMatchObject({ used: 130, unsettled: { a: 100 } });
    book.settleCharge(low.charge, 2000, 0);
    expect(book.limit).toMatchObject({ used: 2030, unsettled: {} });
  });

  it('counts in a later window only what exceeds the estimate', () => {
    const book = new Book([rule(1000)]);
    const high = book.charge(500, 0);
    const low = book.charge(100, 0);
    if (high.kind !== 'charged' || low.kind !== 'charged') throw new Error('refused');
    book.charge(7, WINDOW);
    book.settleCharge(high.charge, 30, 0);
    expect(book.limit.used, 'a refund is dropped').toBe(7);
    book.settleCharge(low.charge, 150, 0);
    expect(book.limit).toMatchObject({ used: 57, unsettled: { a: 7 } });
  });

  it('finds its charge among the orphaned when the instance was taken for dead', () => {
    const book = new Book([rule(1000)]);
    const outcome = book.charge(500, 0);
    if (outcome.kind !== 'charged') throw new Error('refused');
    book.limits = CONTROLLER.orphan(book.limits, book.rules, 'a');
    expect(book.limit).toMatchObject({ used: 500, unsettled: {}, orphaned: 500 });
    book.settleCharge(outcome.charge, 20, 0);
    expect(book.limit).toMatchObject({ used: 20, unsettled: {}, orphaned: 0 });
  });

  it('amends a charge in flight to a better estimate', () => {
    const book = new Book([rule(1000)]);
    const outcome = book.charge(500, 0);
    if (outcome.kind !== 'charged') throw new Error('refused');
    const amended = CONTROLLER.amend(book.limits, book.rules, outcome.charge, tokens(800), 'a', 0);
    book.limits = amended.limits;
    expect(book.limit).toMatchObject({ used: 800, unsettled: { a: 800 } });
    book.settleCharge(amended.outcome, 750, 0);
    expect(book.limit).toMatchObject({ used: 750, unsettled: {} });
  });
});

describe('between two windows', () => {
  function withThree() {
    const book = new Book([rule(null)]);
    const charges = [500, 100, 300].map((amount) => {
      const outcome = book.charge(amount, 0);
      if (outcome.kind !== 'charged') throw new Error('refused');
      return outcome.charge;
    });
    return { book: book.roll(WINDOW), charges };
  }

  it('an amendment puts nothing in flight that has ended', () => {
    const { book, charges } = withThree();
    const [first] = charges as [Charge];
    const amended = CONTROLLER.amend(book.limits, book.rules, first, tokens(800), 'a', 0);
    book.limits = amended.limits;
    book.charge(7, WINDOW + 1);
    book.settleCharge(amended.outcome, 750, WINDOW + 1);
    expect(book.limit).toMatchObject({ used: 257, unsettled: { a: 7 }, orphaned: 0 });
  });

  it('what exceeds an estimate counts, and a refund takes nothing from that', () => {
    const { book, charges } = withThree();
    const [first, second, third] = charges as [Charge, Charge, Charge];
    book.settleCharge(first, 550, 0);
    book.settleCharge(second, 60, 0);
    book.charge(7, WINDOW + 1);
    book.settleCharge(third, 310, WINDOW + 1);
    expect(book.limit).toMatchObject({ used: 67, unsettled: { a: 7 }, orphaned: 0 });
  });
});

describe('use that a state of before kept in a closed window', () => {
  it.each(['fixed', 'sliding'] as const)('ends with the next %s window', (kind) => {
    const book = new Book([rule(1000, { kind })]);
    const cells = kind === 'sliding' ? [{ at: 0, amount: 5_000, orphaned: 0 }] : [];
    book.limits = { tokens: { ...book.limit, used: 5_000, cells } };
    expect(book.charge(1, 1)).toMatchObject({ kind: 'refused' });
    expect(book.charge(1, 2 * WINDOW)).toMatchObject({ kind: 'charged' });
    expect(book.limit.used).toBe(1);
  });
});

describe('conservation', () => {
  it('counts all that has settled, whoever was taken for dead and whatever was stated meanwhile', () => {
    const step = fc.record({
      act: fc.constantFrom('charge', 'charge', 'amend', 'settle', 'settle', 'orphan', 'state'),
      instance: fc.constantFrom('a', 'b'),
      which: fc.nat(9),
      amount: fc.nat(1_000),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40, size: 'max' }), (steps) => {
        const book = new Book([rule(null)]);
        const flying: { charge: Charge; instance: string }[] = [];
        let settled = 0;
        let sequence = 0;
        for (const { act, which, amount, instance } of steps) {
          const one = flying[which % Math.max(1, flying.length)];
          if (act === 'charge') {
            const outcome = book.charge(amount, 0, { instance });
            if (outcome.kind === 'charged') flying.push({ charge: outcome.charge, instance });
          } else if (act === 'orphan') {
            book.limits = CONTROLLER.orphan(book.limits, book.rules, instance);
          } else if (one !== undefined && act === 'state') {
            const entry = one.charge['tokens']!;
            const stated = { limit: 20_000, remaining: 20_000 - settled, utilization: null };
            const statement = { ...stated, name: 'tokens', rejected: false };
            const context = { sequence: (sequence += 1), counted: 0, surprise: 0, late: false };
            const [only] = book.rules as [LimitRules];
            book.limits = CONTROLLER.takeStatement(book.limits, only, entry, statement, context);
          } else if (one !== undefined && act === 'amend') {
            const { charge, instance: own } = one;
            const cost = tokens(amount);
            const amended = CONTROLLER.amend(book.limits, book.rules, charge, cost, own, 0);
            book.limits = amended.limits;
            one.charge = amended.outcome;
          } else if (one !== undefined && act === 'settle') {
            const { charge, instance: own } = one;
            book.limits = CONTROLLER.settle(
              book.limits,
              book.rules,
              charge,
              tokens(amount),
              own,
              0,
            );
            flying.splice(flying.indexOf(one), 1);
            settled += amount;
          }
          const { used, orphaned } = book.limit;
          expect(used).toBeGreaterThanOrEqual(settled);
          expect(used).toBeGreaterThanOrEqual(reservedOf(book.limit) + orphaned);
        }
      }),
    );
  });

  it('never has more in flight than is used, whatever happens when', () => {
    const step = fc.record({
      afterMs: fc.constantFrom(0, 0, WINDOW / 2, WINDOW),
      act: fc.constantFrom('charge', 'roll', 'amend', 'settle', 'orphan'),
      which: fc.nat(9),
      amount: fc.nat(1_000),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40, size: 'max' }), (steps) => {
        const book = new Book([rule(null)]);
        const flying: Charge[] = [];
        let now = 0;
        for (const { afterMs, act, which, amount } of steps) {
          now += afterMs;
          const at = which % Math.max(1, flying.length);
          const charge = flying[at];
          if (act === 'charge') {
            const outcome = book.charge(amount, now);
            if (outcome.kind === 'charged') flying.push(outcome.charge);
          } else if (act === 'roll') {
            book.roll(now);
          } else if (act === 'orphan') {
            book.limits = CONTROLLER.orphan(book.limits, book.rules, 'a');
          } else if (charge !== undefined && act === 'amend') {
            const cost = tokens(amount);
            const { limits, outcome } = CONTROLLER.amend(
              book.limits,
              book.rules,
              charge,
              cost,
              'a',
              now,
            );
            book.limits = limits;
            flying[at] = outcome;
          } else if (charge !== undefined) {
            book.settleCharge(charge, amount, now);
            flying.splice(at, 1);
          }
          const { used, orphaned } = book.limit;
          expect(used).toBeGreaterThanOrEqual(reservedOf(book.limit) + orphaned);
        }
      }),
    );
  });

  it('keeps used = settled cost + estimates in flight + orphaned, within one window', () => {
    const step = fc.record({
      estimate: fc.nat(10_000),
      actual: fc.nat(10_000),
      instance: fc.constantFrom('a', 'b'),
      fate: fc.constantFrom('settles', 'flies', 'orphaned'),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40, size: 'max' }), (steps) => {
        const book = new Book([rule(null)]);
        const expected = { used: 0, reserved: 0, orphaned: 0 };
        for (const { estimate, actual, instance, fate } of steps) {
          const outcome = book.charge(estimate, 0, { instance });
          if (outcome.kind !== 'charged') throw new Error('refused');
          if (fate === 'settles') {
            const { charge } = outcome;
            book.limits = CONTROLLER.settle(
              book.limits,
              book.rules,
              charge,
              tokens(actual),
              instance,
              0,
            );
            expected.used += actual;
          } else {
            expected.used += estimate;
            expected.reserved += estimate;
          }
          if (fate === 'orphaned') {
            const lost = book.limit.unsettled[instance] ?? 0;
            book.limits = CONTROLLER.orphan(book.limits, book.rules, instance);
            expected.reserved -= lost;
            expected.orphaned += lost;
          }
        }
        const { used, orphaned } = book.limit;
        expect({ used, orphaned, reserved: reservedOf(book.limit) }).toEqual(expected);
      }),
    );
  });

  it('never admits beyond the budget, but for one request in an idle window', () => {
    const amounts = fc.array(fc.integer({ min: 1, max: 3_000 }), { maxLength: 60, size: 'max' });
    fc.assert(
      fc.property(amounts, fc.integer({ min: 1, max: 2_000 }), (estimates, budget) => {
        const book = new Book([rule(budget)]);
        let admitted = 0;
        for (const estimate of estimates) {
          if (book.charge(estimate, 0).kind === 'charged') admitted += estimate;
        }
        expect(admitted <= budget || admitted === estimates[0]).toBe(true);
      }),
    );
  });
});

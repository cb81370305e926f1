import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ChargeEntry } from '../../src/budget/kinds.js';
import { effectiveBudget, reservedOf, sourceOf } from '../../src/budget/limits.js';
import type { Statement } from '../../src/budget/stated-limit.js';
import type { LimitState, StatedLimit } from '../../src/state/scope-state.js';
import { Book, CONTROLLER, HOUR, rule, tokens, WINDOW } from './support.js';

const NOTHING: Statement = {
  name: 'tokens',
  limit: null,
  remaining: null,
  utilization: null,
  rejected: false,
};

/** A book whose upstream states something now and then. */
class StatedBook extends Book {
  sequence = 0;
  entry: ChargeEntry | null = null;

  /** Charges `amount`, without settling it. */
  open(amount: number, now = 0): this {
    const outcome = this.charge(amount, now);
    if (outcome.kind === 'refused') throw new Error(`refused at ${now}`);
    this.entry = outcome.charge['tokens'] ?? null;
    this.sequence += 1;
    return this;
  }

  settle(amount: number): this {
    const charge = { tokens: this.entry as ChargeEntry };
    this.settleCharge(charge, amount, 0);
    return this;
  }

  states(
    statement: Partial<Statement>,
    {
      counted = 0,
      surprise = 0,
      late = false,
      sequence = this.sequence,
      entry = this.entry as ChargeEntry,
    } = {},
  ): this {
    const whole = { ...NOTHING, ...statement };
    const context = { sequence, counted, surprise, late };
    const [limitRules] = this.rules as [ReturnType<typeof rule>];
    this.limits = CONTROLLER.takeStatement(this.limits, limitRules, entry, whole, context);
    return this;
  }

  get budget(): number | null {
    return effectiveBudget(this.limit, false);
  }
}

function book(budget: number | null = null, overrides = {}): StatedBook {
  return new StatedBook([rule(budget, overrides)]).roll(0) as StatedBook;
}

/** One with 100 settled and 10 in flight, of a stated limit of 1000. */
function half(): StatedBook {
  const started = book().open(100).states({ limit: 1000, remaining: 900 }, { counted: 100 });
  return started.settle(100).open(10);
}

describe('a stated amount', () => {
  it('is the budget from the first answer on, but for a reserve', () => {
    const stated = book().open(10).states({ limit: 10_000, remaining: 9_990 }, { counted: 10 });
    expect(stated.budget).toBe(9_980);
    expect(sourceOf(stated.limit)).toBe('headers');
  });

  it('never loosens the budget of an operator', () => {
    const stated = book(5_000).open(10).states({ limit: 10_000, remaining: 9_990 });
    expect(stated.budget).toBe(5_000);
    expect(sourceOf(stated.limit)).toBe('configured');
  });

  it.each([
    ['nobody else spends', 891, { used: 110, others: 0 }],
    ['what is in flight may be in it', 890, { used: 110, others: 0 }],
    ['others have spent, and nothing in flight is in it', 850, { used: 160, others: 50 }],
    ['all is used up', 0, { used: 1010, others: 900 }],
  ])('corrects the charge upward: %s', (_, remaining, expected) => {
    expect(half().states({ limit: 1000, remaining }).limit).toMatchObject(expected);
  });

  it.each([
    ['others spent less than it seemed', 870, { used: 140, others: 29 }],
    ['others spent nothing', 899, { used: 111, others: 0 }],
    ['never below what is settled and in flight', 1000, { used: 111, others: 0 }],
  ])('corrects it downward: %s', (_, remaining, expected) => {
    const raised = half().states({ limit: 1000, remaining: 850 });
    raised.open(1).settle(1).states({ limit: 1000, remaining });
    expect(raised.limit).toMatchObject(expected);
  });

  it('knows that the input of its own request is in it', () => {
    const raised = half().states({ limit: 1000, remaining: 850 });
    raised.states({ limit: 1000, remaining: 850 }, { counted: 10 });
    expect(raised.limit).toMatchObject({ used: 150, others: 40 });
  });

  it('gives an orphaned charge back once: whoever was only taken for dead may settle it yet', () => {
    const silent = half();
    silent.limits = CONTROLLER.orphan(silent.limits, silent.rules, 'a');
    const late = silent.entry as ChargeEntry;
    silent.open(1).states({ limit: 1000, remaining: 900 }).settle(1);
    expect(silent.limit).toMatchObject({ used: 101, orphaned: 0 });
    const amended = CONTROLLER.amend(
      silent.limits,
      silent.rules,
      { tokens: late },
      tokens(6),
      'a',
      0,
    );
    silent.limits = amended.limits;
    expect(silent.limit.used).toBe(107);
    silent.entry = amended.outcome['tokens'] as ChargeEntry;
    expect(silent.settle(2).limit).toMatchObject({ used: 103, orphaned: 0, unsettled: {} });
  });

  it('proves that an orphaned charge was not spent, as far as it does', () => {
    const crashed = half();
    crashed.limits = CONTROLLER.orphan(crashed.limits, crashed.rules, 'a');
    expect(crashed.limit).toMatchObject({ used: 110, orphaned: 10 });
    crashed.open(5);
    crashed.states({ limit: 1000, remaining: 897 });
    expect(crashed.limit).toMatchObject({ used: 108, orphaned: 3 });
    crashed.states({ limit: 1000, remaining: 900 });
    expect(crashed.limit).toMatchObject({ used: 105, orphaned: 0 });
  });

  it('that is rounded to a thousand proves no more than that', () => {
    const rounded = book().open(1_600).states({ limit: 100_000, remaining: 99_000 });
    expect(rounded.limit, 'all of it may be in flight').toMatchObject({
      used: 3_100,
      others: 1_500,
    });
    rounded.settle(1_600).open(1).states({ limit: 100_000, remaining: 98_000 });
    expect(rounded.limit).toMatchObject({ used: 2_501, others: 900 });
  });

  it('by an older answer raises the charge, and never lowers it', () => {
    const raised = half().states({ limit: 1000, remaining: 850 });
    const before = raised.limit;
    expect(raised.states({ limit: 1000, remaining: 890 }, { sequence: 1 }).limit).toBe(before);
    expect(raised.states({ limit: 2000, remaining: 1990 }, { sequence: 1 }).limit).toBe(before);
    raised.states({ limit: 1000, remaining: 700 }, { sequence: 1 });
    expect(raised.limit.others).toBe(200);
  });

  it('by an older answer lowers it by what nobody knew of its own request', () => {
    const raised = half().states({ limit: 1000, remaining: 800 });
    expect(raised.limit).toMatchObject({ used: 210, others: 100 });
    const older = { sequence: 1, surprise: 60 };
    raised.states({ limit: 1000, remaining: 890 }, older);
    expect(raised.limit).toMatchObject({ used: 150, others: 40 });
    raised.states({ limit: 1000, remaining: 890 }, { surprise: 5, late: true });
    expect(raised.limit).toMatchObject({ used: 145, others: 35 });
  });

  it('of an ended window says nothing about this one', () => {
    const stated = half();
    const entry = stated.entry as ChargeEntry;
    stated.open(5, WINDOW);
    const before = stated.limit;
    expect(before).toMatchObject({ used: 5, others: 0 });
    expect(stated.states({ limit: 1000, remaining: 0 }, { entry }).limit).toBe(before);
  });

  it('is remembered for the next window, and no longer', () => {
    const stated = half().open(5, WINDOW);
    expect(stated.budget).toBe(998);
    expect(stated.open(5, 2 * WINDOW).budget).toBeNull();
  });

  it('without the limit makes the most that ever remained the limit', () => {
    const stated = book().open(10).states({ remaining: 500 });
    expect(stated.limit).toMatchObject({ used: 10, others: 0, stated: { limit: 500 } });
    stated.settle(10).states({ remaining: 300 });
    expect(stated.limit).toMatchObject({ used: 200, others: 190 });
  });

  it.each<Partial<Statement>>([
    { remaining: -1, limit: -1 },
    { remaining: 5, limit: 0 },
    { remaining: 5, limit: 4 },
    { remaining: 1e300, limit: 1e300 },
    { remaining: Number.NaN, limit: 5 },
    { limit: 5 },
    { utilization: -0.1 },
    { utilization: 33 },
    {},
  ])('that makes no sense is ignored: %o', (statement) => {
    const before = half();
    const { limit } = before;
    expect(before.states(statement).limit).toBe(limit);
  });

  it('stops the controller, which has nothing to find out', () => {
    const stated = book(5_000).open(4_800).states({ limit: 4_900, remaining: 100 });
    expect(stated.nudge(2 * HOUR)).toMatchObject({ kind: 'held', guard: 'stated' });
  });

  it('outweighs samples that say the same, and not those that contradict it', () => {
    const stated = half();
    const [limitRules] = stated.rules as [ReturnType<typeof rule>];
    expect(CONTROLLER.learn(stated.limits, limitRules, 950, 950)).toBe(stated.limits);
    stated.limits = CONTROLLER.learn(stated.limits, limitRules, 500, 500);
    expect(stated.budget).toBe(485);
  });

  it('of a sliding window only ever raises the charge', () => {
    const sliding = book(null, { kind: 'sliding' }).open(100).settle(100).open(10);
    sliding.states({ limit: 1000, remaining: 700 });
    expect(sliding.limit).toMatchObject({ used: 300, others: 0 });
    expect(sliding.states({ limit: 1000, remaining: 900 }).limit.used).toBe(300);
    expect(sliding.budget).toBe(998);
  });
});

describe('a stated fraction', () => {
  /** Spends a limit of 1000, told the per cents of it, until nothing more fits. */
  function spend(stated: StatedBook, step: number, others = 0, now = 0): number {
    let spent = 0;
    for (let round = 0; round < 1000; round += 1) {
      const outcome = stated.charge(step, now + round);
      if (outcome.kind === 'refused') return spent;
      stated.entry = outcome.charge['tokens'] ?? null;
      stated.sequence += 1;
      spent += step;
      const utilization = Math.round(((spent * (1 + others)) / 1000) * 100) / 100;
      stated.states({ utilization }, { counted: step }).settle(step);
    }
    return spent;
  }

  it('is no budget before it has risen far enough to tell what a per cent costs', () => {
    const stated = book().open(50).states({ utilization: 0.05 }, { counted: 50 }).settle(50);
    expect(stated.budget).toBeNull();
    stated.open(100).states({ utilization: 0.15 }, { counted: 100 });
    expect(stated.budget).toBeGreaterThan(800);
    expect(stated.budget).toBeLessThan(1000);
  });

  it('is kept to within a per cent, whatever others spend', () => {
    for (const others of [0, 0.25, 1]) {
      const spent = spend(book(), 4, others) * (1 + others);
      expect(spent).toBeGreaterThanOrEqual(980);
      expect(spent).toBeLessThanOrEqual(1005);
    }
  });

  it('does not loosen the budget of an operator', () => {
    expect(spend(book(500), 4)).toBe(500);
  });

  it('of the whole, or a rejected window, leaves nothing, from the first answer on', () => {
    for (const statement of [{ utilization: 1.02 }, { utilization: 0.9, rejected: true }]) {
      const stated = book().open(50).states(statement, { counted: 50 }).settle(50);
      expect(stated.charge(1, 1)).toMatchObject({ kind: 'refused' });
      expect(stated.charge(1, WINDOW)).toMatchObject({ kind: 'charged' });
    }
  });

  it('tells what a per cent costs in the next window, and follows a limit that fell', () => {
    const stated = book();
    spend(stated, 4);
    expect(stated.limit.stated?.limit).toBeGreaterThan(970);
    expect(stated.open(4, WINDOW).budget).toBeGreaterThan(970);
    // Half the limit: each of our tokens counts twice.
    expect(spend(stated, 4, 1, 2 * WINDOW)).toBeLessThanOrEqual(505);
    stated.roll(3 * WINDOW);
    expect(stated.limit.stated?.limit).toBeLessThan(530);
  });

  /** A window in which others fill the limit, and we spend little. */
  function othersFill(stated: StatedBook, now: number): void {
    for (const [round, utilization] of [0.01, 0.5, 0.9].entries()) {
      stated
        .open(2, now + round)
        .states({ utilization }, { counted: 2 })
        .settle(2);
    }
  }

  it('in windows that others fill does not hide for good what a limit is', () => {
    const stated = book();
    spend(stated, 4);
    let now = WINDOW;
    for (let window = 0; window < 12; window += 1, now += WINDOW) othersFill(stated, now);
    stated.roll(now);
    expect(stated.limit.stated?.limit).toBeLessThan(10);
    // They are away: it is found again within one window.
    expect(spend(stated, 1, 0, now)).toBeGreaterThan(950);
    stated.roll(now + WINDOW);
    expect(stated.limit.stated?.limit).toBeGreaterThan(900);
    expect(stated.limit.stated?.limit).toBeLessThan(1_100);
  });

  it('makes a limit fall by no more than half in a window', () => {
    const stated = book();
    spend(stated, 4);
    othersFill(stated, WINDOW);
    stated.roll(2 * WINDOW);
    expect(stated.limit.stated?.limit).toBeGreaterThan(480);
  });

  it('makes it fall only by a window that rose by half, both ends of it within an error of the figure', () => {
    const remembered = (utilization: number) => {
      const stated = book();
      spend(stated, 4);
      const known = stated.limit.stated?.limit;
      stated.open(4, WINDOW).states({ utilization: 0.1 }, { counted: 4 }).settle(4);
      stated.open(4, WINDOW).states({ utilization }, { counted: 4 }).settle(4);
      return (stated.roll(2 * WINDOW).limit.stated?.limit ?? 0) / (known ?? 0);
    };
    expect(remembered(0.6), 'a rise of 0.49, for all that is known').toBe(1);
    expect(remembered(0.62)).toBeLessThan(0.6);
  });

  it('of more than twice the whole is none', () => {
    const taken = (utilization: number) =>
      book().open(50).states({ utilization }, { counted: 50 }).limit.stated !== null;
    expect([2, 2.01, -0.01].map(taken)).toEqual([true, false, false]);
  });

  it('is not misled by estimates that were in flight when it was stated first', () => {
    const stated = book();
    spend(stated, 4);
    stated.open(900, WINDOW).states({ utilization: 0.01 }, { counted: 4 }).settle(4);
    spend(stated, 4, 0, WINDOW + 1);
    stated.roll(2 * WINDOW);
    expect(stated.limit.stated?.limit).toBeGreaterThan(970);
    expect(stated.limit.stated?.limit).toBeLessThan(1_030);
  });

  describe('where a limit is known too low', () => {
    /** Four windows that others filled; in the fifth, 1 is spent and `from` stated. */
    function known(from: number) {
      const stated = book();
      spend(stated, 4);
      for (let window = 1; window <= 4; window += 1) othersFill(stated, window * WINDOW);
      stated
        .open(1, 5 * WINDOW)
        .states({ utilization: from }, { counted: 1 })
        .settle(1);
      const low = stated.limit.stated?.limit ?? 0;
      expect(low).toBeGreaterThan(50);
      expect(low).toBeLessThan(70);
      return { stated, low };
    }

    it('what is spent without a rise raises it, twofold at most, once it is in the way', () => {
      const { stated, low } = known(0);
      stated
        .open(20, 5 * WINDOW)
        .states({ utilization: 0 }, { counted: 20 })
        .settle(20);
      expect(stated.limit.stated?.limit).toBe(low);
      const rest = low - 25;
      stated.open(rest, 5 * WINDOW).states({ utilization: 0 }, { counted: rest });
      expect(stated.limit.stated?.limit).toBe(2 * low);
    });

    it('an older answer does not raise it, nor what may never have been sent', () => {
      for (const older of [true, false]) {
        const { stated, low } = known(0);
        stated.open(low - 5, 5 * WINDOW);
        if (older) stated.settle(low - 5);
        else stated.limits = CONTROLLER.orphan(stated.limits, stated.rules, 'a');
        stated.states({ utilization: 0.01 }, older ? { sequence: 1 } : {});
        expect(stated.limit.stated?.limit).toBe(low);
      }
    });

    it('no limit is nothing: even that is refuted', () => {
      const stated = book();
      for (const utilization of [0, 1]) {
        stated.open(1).states({ utilization }, { counted: 1 }).settle(1);
      }
      expect(stated.limit.stated?.limit).toBe(1);
      // As earlier versions may have kept it.
      const kept = stated.limit.stated as StatedLimit;
      stated.limits = { tokens: { ...stated.limit, stated: { ...kept, limit: 0 } } };
      // What the hourly looks spend is enough.
      const looks = Array.from({ length: 8 }, () => ({ ...QUIET, amount: 1, settled: 1 }));
      const zero = { limit: null, remaining: null, utilization: 0, rejected: false };
      stated.roll(WINDOW);
      play(
        stated,
        looks.map((look) => ({ ...look, statement: zero, counted: 1 })),
      );
      expect(stated.limit.stated?.limit).toBeGreaterThanOrEqual(8);
    });

    it('a refund of what was taken for never sent leaves no figure below zero', () => {
      const stated = book().open(100);
      const lost = { tokens: stated.entry as ChargeEntry };
      stated.limits = CONTROLLER.orphan(stated.limits, stated.rules, 'a');
      stated.states({ limit: 1_000, remaining: 1_000 });
      stated.charge(50, 0, { instance: 'b' });
      stated.settleCharge(lost, 20, 0);
      stated.states({ utilization: 0.1 });
      const { fromCharged, fromCounted, usedCharged } = stated.limit.stated?.fraction ?? {};
      for (const figure of [fromCharged, fromCounted, usedCharged]) {
        expect(figure).toBeGreaterThanOrEqual(0);
      }
    });

    it('a fraction that fell proves nothing', () => {
      const { stated, low } = known(0.5);
      const rest = (stated.budget ?? 0) - 2;
      stated.open(rest, 5 * WINDOW).states({ utilization: 0.49 }, { counted: rest });
      expect(stated.limit.stated?.limit).toBe(low);
    });
  });

  it('by an older answer, or stated before, changes nothing', () => {
    const stated = book().open(50).states({ utilization: 0.2 }).settle(50).open(50);
    stated.states({ utilization: 0.4 });
    const { limit } = stated;
    expect(stated.states({ utilization: 0.4 }, { counted: 50 }).limit).toBe(limit);
    expect(stated.states({ utilization: 0.3 }, { sequence: 1 }).limit).toBe(limit);
    expect(stated.states({ utilization: 0.5 }, { sequence: 1 }).limit).not.toBe(limit);
  });
});

const AMOUNT = fc.oneof(
  fc.integer({ min: 0, max: 2_000 }),
  fc.constantFrom(0, 1, 500, 999, 1_000, 1e9, 1e15, -1, 1e308, Number.NaN, Infinity),
);
const STATEMENT = fc.record({
  limit: fc.option(AMOUNT),
  remaining: fc.option(AMOUNT),
  utilization: fc.option(
    fc.oneof(fc.double({ min: 0, max: 1.1, noNaN: true }), fc.constantFrom(-1, 33, Number.NaN)),
  ),
  rejected: fc.boolean(),
});
const STEP = fc.record({
  amount: fc.integer({ min: 1, max: 400 }),
  settled: fc.option(fc.integer({ min: 0, max: 400 })),
  statement: fc.option(STATEMENT),
  counted: fc.integer({ min: 0, max: 400 }),
  crash: fc.boolean(),
});

/** Plays the steps; charges are made whatever the budget says. */
function play(
  stated: StatedBook,
  steps: readonly (typeof STEP extends fc.Arbitrary<infer S> ? S : never)[],
) {
  for (const { amount, settled, statement, counted, crash } of steps) {
    const request = { cost: tokens(amount), instance: 'a', cautious: false };
    const forced = CONTROLLER.force(stated.limits, stated.rules, request, 0);
    stated.limits = forced.limits;
    stated.entry = forced.outcome.charge['tokens'] ?? null;
    stated.sequence += 1;
    if (statement !== null) stated.states(statement, { counted });
    if (settled !== null) stated.settle(settled);
    if (crash) stated.limits = CONTROLLER.orphan(stated.limits, stated.rules, 'a');
  }
  return stated;
}

/** Ours alone: settled and in flight. */
const ownOf = (limit: LimitState) => limit.used - limit.others - limit.orphaned;
const BUDGET = fc.option(fc.integer({ min: 1, max: 3_000 }));
const STEPS = fc.array(STEP, { maxLength: 12 });

describe('whatever is stated', () => {
  it('never loosens the operator’s bound', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3_000 }), STEPS, (budget, steps) => {
        expect(play(book(budget), steps).budget).toBeLessThanOrEqual(budget);
      }),
    );
  });

  it('takes nothing from what is settled or in flight, and keeps every figure finite', () => {
    fc.assert(
      fc.property(BUDGET, STEPS, STATEMENT, (budget, steps, statement) => {
        const stated = play(book(budget), [...steps, { ...QUIET, amount: 7 }]);
        const before = stated.limit;
        const { limit } = stated.states(statement);
        expect(ownOf(limit)).toBeCloseTo(ownOf(before), 3);
        expect(reservedOf(limit)).toBe(reservedOf(before));
        const { used, others, orphaned } = limit;
        for (const figure of [used, others, orphaned, stated.budget ?? 0]) {
          expect(Number.isFinite(figure) && figure >= 0).toBe(true);
        }
        expect(used).toBeGreaterThanOrEqual(others + orphaned);
      }),
    );
  });

  it('raises the charge at least to what the upstream has counted', () => {
    fc.assert(
      fc.property(BUDGET, STEPS, fc.integer({ min: 0, max: 900 }), (budget, steps, remaining) => {
        const stated = play(book(budget), [...steps, { ...QUIET, amount: 7 }]);
        stated.states({ limit: 999, remaining });
        expect(stated.limit.used).toBeGreaterThanOrEqual(999 - remaining);
      }),
    );
  });

  it('counts the more, the less remains', () => {
    const two = fc.tuple(fc.integer({ min: 0, max: 999 }), fc.integer({ min: 0, max: 999 }));
    fc.assert(
      fc.property(BUDGET, STEPS, two, (budget, steps, [a, b]) => {
        const started = play(book(budget), [...steps, { ...QUIET, amount: 7 }]);
        const used = (remaining: number) => {
          const other = book(budget);
          Object.assign(other, { limits: started.limits, entry: started.entry });
          other.sequence = started.sequence;
          return other.states({ limit: 999, remaining }).limit.used;
        };
        expect(used(Math.min(a, b))).toBeGreaterThanOrEqual(used(Math.max(a, b)));
      }),
    );
  });

  it('changes nothing when it is stated again', () => {
    fc.assert(
      fc.property(BUDGET, STEPS, STATEMENT, (budget, steps, statement) => {
        const stated = play(book(budget), [...steps, { ...QUIET, amount: 7 }]).states(statement);
        const { limit } = stated;
        expect(stated.states(statement).limit).toBe(limit);
      }),
    );
  });
});

const QUIET = { settled: null, statement: null, counted: 0, crash: false };

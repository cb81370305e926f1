import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BOUNDS, type EventRecord } from '../../src/state/scope-state.js';
import { Draft } from '../../src/governor/draft.js';
import type { GovernorEvent } from '../../src/governor/events.js';
import { freshen } from '../../src/governor/upkeep.js';
import {
  HOUR,
  limit,
  MINUTE,
  POLICIES,
  SCOPE,
  SECOND,
  statement,
  success,
  Town,
} from './support.js';

const BUDGET = 10_000;
const open = () => Town.open({ limits: [limit({ budget: BUDGET })] });

async function kept(town: Town): Promise<readonly EventRecord[]> {
  return (await town.repository.read(SCOPE)).state.cold.events;
}

async function lastOf(town: Town, kind: string): Promise<EventRecord> {
  const record = (await kept(town)).findLast((event) => event.kind === kind);
  expect(record, `an event of kind ${kind}`).toBeDefined();
  return record!;
}

describe('two instances with different budgets', () => {
  const MOVES = ['budget-moved', 'configurations-differ'];

  /** What is told of budgets while they take turns, one decision a second. */
  async function turns(budgets: readonly (readonly [string, number])[], times: number) {
    const town = await Town.open({ limits: [limit({ budget: BUDGET })] });
    let { state, now } = await town.repository.read(SCOPE);
    const told: { at: number; event: GovernorEvent }[] = [];
    for (let turn = 0; turn < times; turn += 1) {
      const [instance, budget] = budgets[turn % budgets.length]!;
      const draft = new Draft(state, (now += SECOND), [limit({ budget })]);
      freshen(draft, POLICIES);
      for (const { event } of draft.conclude({ instance, requestId: 'r' })) {
        if (MOVES.includes(event.kind)) told.push({ at: turn, event });
      }
      ({ state } = draft);
      expect(state.hot.limits['tokens']!.budget.current, 'each goes by its own').toBe(budget);
    }
    return told;
  }

  it('are told about once an hour, and their moves do not push out everything else', async () => {
    const two = [['a', BUDGET] as const, ['b', 4_000] as const];
    const told = await turns(two, 5_000);
    expect(told.map(({ event }) => event.kind)).toEqual([...MOVES, ...MOVES]);
    expect(told[0]).toMatchObject({ at: 1, event: { from: BUDGET, to: 4_000 } });
    const differ = { limit: 'tokens', other: 'b', own: BUDGET, others: 4_000 };
    expect(told[1]).toMatchObject({ at: 2, event: differ });
    expect(told[2]!.at - 2).toBeGreaterThanOrEqual(3_600);
  });

  it('are told of three, and of two that share a name nothing again and again', async () => {
    const three = [['a', BUDGET] as const, ['b', 4_000] as const, ['c', 7_000] as const];
    expect((await turns(three, 300)).map(({ event }) => event.kind)).toEqual([
      MOVES[0],
      MOVES[0],
      MOVES[1],
    ]);
    const same = [['a', BUDGET] as const, ['a', 4_000] as const];
    expect((await turns(same, 300)).map(({ event }) => event.kind)).toEqual([MOVES[0], MOVES[0]]);
  });

  it('that follow one another are a change of the configuration', async () => {
    const change = [['a', BUDGET] as const, ...Array<['b', number]>(300).fill(['b', 4_000])];
    expect(await turns(change, 300)).toMatchObject([{ at: 1, event: { kind: 'budget-moved' } }]);
  });
});

describe('an event', () => {
  it('of a cooldown has instant, cause, request and the figures of the limit', async () => {
    const town = await open();
    await town.call(6_000);
    const admission = await town.admit();
    const inFlight = (await town.limitView()).reserved;
    const at = (await town.view()).now;
    await town.refuse(admission, { statedWaitMs: HOUR });
    expect(await lastOf(town, 'cooldown-began')).toMatchObject({
      at,
      cause: 'refusal by the upstream',
      limit: 'tokens',
      requestId: 'r',
      instance: 'a',
      before: { budget: BUDGET, source: 'configured', used: 6_000 + inFlight, reserved: inFlight },
      after: { used: 6_000 + inFlight, orphaned: 0 },
      details: { refusal: 'quota', episode: 1, rung: 1, statedWaitMs: HOUR },
    });
  });

  it('of a sample is followed by what it made of the budget', async () => {
    const town = await open();
    await town.call(6_000);
    await town.refuse(await town.admit());
    const sample = await lastOf(town, 'sample');
    const learned = await lastOf(town, 'budget-learned');
    expect(sample.details).toMatchObject({ tokens: 6_000, accepted: true, episode: 1 });
    expect(learned).toMatchObject({
      cause: 'accepted sample',
      before: { budget: BUDGET, source: 'configured' },
      after: { budget: 5_820, source: 'learned', used: 6_000 },
      details: { learned: 6_000, from: BUDGET, to: 5_820 },
    });
    expect(learned.id).toBeGreaterThan(sample.id);
  });

  it('is in the state with the change it tells of, and survives a crash with it', async () => {
    const town = await open();
    await town.refuse(await town.admit());
    const before = await kept(town);
    await town.crash();
    const after = await kept(town);
    expect(after.slice(0, before.length)).toEqual(before);
    expect(after.at(-1)!.kind).toBe('unclean-start');
    const ids = after.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids).toEqual(ids.toSorted((a, b) => a - b));
  });

  it('is told of a guard once, when it changes, and not with every look', async () => {
    const town = await open();
    await town.call(100);
    for (let minute = 0; minute < 59; minute += 1) {
      await town.pass(MINUTE);
      await town.tick();
    }
    expect(town.happened('guard-holds')).toEqual([
      { kind: 'guard-holds', limit: 'tokens', guard: 'young-traffic' },
    ]);
    await town.pass(5 * MINUTE);
    for (let look = 0; look < 20; look += 1) await town.tick();
    expect(town.happened('guard-holds').map((event) => 'guard' in event && event.guard)).toEqual([
      'young-traffic',
      'little-used',
    ]);
    await town.crash();
    await town.tick();
    expect(town.happened('guard-holds'), 'a restart tells nothing anew').toHaveLength(2);
  });

  it('of the operator says what was taken back', async () => {
    const town = await open();
    await town.call(6_000);
    await town.refuse(await town.admit());
    await town.governor.resetBudget(SCOPE);
    expect(await lastOf(town, 'budget-reset')).toMatchObject({
      cause: 'operator',
      requestId: null,
      details: { from: 5_820, to: BUDGET },
    });
  });

  it('of a routine probe that was refused says where the cooldown ends now', async () => {
    const town = await open();
    await town.refuse(await town.admit(), { statedWaitMs: 4 * HOUR });
    await town.pass(HOUR + SECOND);
    await town.refuse(await town.admit(), { statedWaitMs: 10 * HOUR });
    const { now } = await town.view();
    const { details } = await lastOf(town, 'cooldown-restated');
    expect(details['until']).toBeGreaterThan(now + 9 * HOUR);
  });

  it('of a window that ends is kept in the state where that is ten minutes long or more', async () => {
    const keptOf = async (windowMs: number) => {
      const town = await Town.open({ limits: [limit({ windowMs, budget: BUDGET })] });
      await town.call(100);
      await town.pass(windowMs);
      await town.tick();
      expect(town.happened('window-ended')).toHaveLength(1);
      return (await kept(town)).filter(({ kind }) => kind === 'window-ended').length;
    };
    expect(await keptOf(10 * MINUTE)).toBe(1);
    expect(await keptOf(10 * MINUTE - 1)).toBe(0);
  });

  it('of a stated budget is told again when that has moved by a fiftieth', async () => {
    const town = await open();
    const told: unknown[] = [];
    for (const stated of [5_000, 4_950, 4_901, 4_900]) {
      const admission = await town.admit();
      const statements = [
        statement({ name: 'tokens', windowMs: 5 * HOUR, limit: stated, remaining: stated }),
      ];
      town.governor.succeeded(admission, statements);
      await town.settle(admission, success(0));
      told.push(town.happened('budget-stated').length);
    }
    expect(told).toEqual([1, 1, 1, 2]);
  });

  it('costs a local refusal no write', async () => {
    const town = await open();
    await town.refuse(await town.admit(), { statedWaitMs: HOUR });
    await town.pass(SECOND);
    const { revision } = town.repository.health();
    for (let n = 0; n < 100; n += 1) await town.denied();
    expect(town.repository.health().revision).toBe(revision);
    await town.pass(250);
    expect(town.repository.health().revision, 'their count is one write').toBe(revision + 1);
  });
});

it('the state keeps the newest events, and no more than its bound', async () => {
  const town = await open();
  for (let n = 0; n < 20; n += 1) {
    await town.governor.resetBudget(SCOPE);
    await town.governor.clearCooldown(SCOPE);
  }
  const events = await kept(town);
  expect(events).toHaveLength(BOUNDS.events);
  expect(events.at(-1)!.kind).toBe('cooldown-cleared');
});

/** Whatever happens, the moves told lead from nothing to the budget that there is. */
it('no budget moves without an event that says from where and to where', async () => {
  const step = fc.oneof(
    fc.integer({ min: 1, max: 4_000 }).map((tokens) => ({ do: 'call' as const, tokens })),
    fc.constant({ do: 'refuse' as const }),
    fc.integer({ min: 1, max: 360 }).map((minutes) => ({ do: 'pass' as const, minutes })),
    fc.constant({ do: 'reset' as const }),
    fc.constant({ do: 'crash' as const }),
  );
  const budgets = fc.constantFrom(null, BUDGET);
  await fc.assert(
    fc.asyncProperty(budgets, fc.array(step, { maxLength: 25 }), async (budget, steps) => {
      const town = await Town.open({ limits: [limit({ budget })] });
      for (const each of steps) {
        if (each.do === 'pass') await town.pass(each.minutes * MINUTE).then(() => town.tick());
        if (each.do === 'reset') await town.governor.resetBudget(SCOPE);
        if (each.do === 'crash') await town.crash();
        if (each.do !== 'call' && each.do !== 'refuse') continue;
        const outcome = await town.ask();
        if (outcome.kind !== 'admitted') continue;
        if (each.do === 'refuse') await town.refuse(outcome.admission);
        else {
          town.governor.succeeded(outcome.admission, []);
          await town.settle(outcome.admission, success(each.tokens));
        }
      }
      await town.tick();
      let current: number | null = null;
      for (const event of town.events) {
        if (!('to' in event)) continue;
        expect(event.from, JSON.stringify(event)).toBe(current);
        current = event.to;
      }
      expect((await town.limitView()).budget.current).toBe(current);
    }),
    { numRuns: 60 },
  );
});

import { describe, expect, it } from 'vitest';
import type { Admission } from '../../src/governor/admission.js';
import type { LimitStatement } from '../../src/governor/attribution.js';
import { StatementNews } from '../../src/governor/statement-news.js';
import type { StateRepository } from '../../src/state/state-repository.js';
import { HOUR, limit, MINUTE, statement, success, Town, type TownOptions } from './support.js';

const DAY = 24 * HOUR;
const LIMIT = 100_000;

const amount = (remaining: number, overrides: Partial<LimitStatement> = {}) =>
  statement({ name: 'tokens', windowMs: 5 * HOUR, limit: LIMIT, remaining, ...overrides });

const fraction = (name: string, utilization: number, overrides: Partial<LimitStatement> = {}) => {
  const windowMs = name.startsWith('5h') ? 5 * HOUR : 7 * DAY;
  return statement({ name, windowMs, utilization, status: 'allowed', ...overrides });
};

/** The head of a stream: the limits are stated, and the input is known. */
async function answer(
  town: Town,
  admission: Admission,
  inputTokens: number,
  statements: readonly LimitStatement[],
): Promise<void> {
  town.governor.succeeded(admission, statements);
  town.governor.amend(admission, inputTokens);
  await town.pass(250);
}

/** A whole call that costs `tokens`, all of them input. */
async function call(
  town: Town,
  tokens: number,
  statements: readonly LimitStatement[],
  options: Parameters<Town['admit']>[0] = {},
): Promise<void> {
  const admission = await town.admit({ model: 'called', ...options });
  await answer(town, admission, tokens, statements);
  await town.settle(admission, success(tokens));
}

describe('where headers state the limit', () => {
  it('it is the budget at once, and what others spent is charged', async () => {
    const town = await Town.open();
    await call(town, 1_000, [amount(59_000)]);
    const view = await town.limitView();
    expect(view.budget).toMatchObject({ initial: null, source: 'headers', learned: null });
    expect(view.budget.current).toBeGreaterThan(95_000);
    expect(view.used).toBeGreaterThanOrEqual(41_000);
    expect(view.used).toBeLessThanOrEqual(41_500);
  });

  it('nothing passes that the upstream would refuse, until it says that the window ends', async () => {
    const town = await Town.open({ limits: [limit({ budget: 1_000_000 })] });
    const resetAt = town.time.wall() + HOUR;
    await call(town, 1_000, [amount(0, { resetAt })]);
    expect(await town.denied()).toMatchObject({ decision: 'budget', until: resetAt });
    expect((await town.limitView()).budget).toMatchObject({ initial: 1e6, source: 'headers' });
    await town.pass(HOUR);
    expect((await town.ask()).kind).toBe('admitted');
  });

  it('a window of ours is over, with a moment to go, once the upstream states the end of its next', async () => {
    const town = await Town.open();
    const resetAt = town.time.wall() + HOUR;
    await call(town, 90_000, [amount(10_000, { resetAt })]);
    await town.pass(HOUR - MINUTE);
    const next = { resetAt: resetAt + 5 * HOUR };
    await call(town, 5_000, [amount(95_000, next)], { model: 'next' });
    // The estimate of its output is not given back.
    expect(await town.limitView()).toMatchObject({ used: 5_405, reserved: 0, orphaned: 0 });
    expect(town.happened('window-ended')).toHaveLength(1);
    // It does not count twice (500 are the rounding), and the window ends when it was told to.
    await call(town, 1_000, [amount(94_000, next)], { model: 'another' });
    expect(await town.limitView()).toMatchObject({
      used: 6_500,
      window: { endsAt: next.resetAt },
    });
  });

  it('a short answer that tells of the next window with its end counts there, whole', async () => {
    const town = await Town.open();
    const resetAt = town.time.wall() + HOUR;
    await call(town, 1_000, [amount(99_000, { resetAt })]);
    await town.pass(HOUR - 2_000);
    const short = await town.admit({ model: 'short' });
    town.governor.succeeded(short, [amount(60_000, { resetAt: resetAt + 5 * HOUR })]);
    await town.settle(short, success(40_000));
    expect((await town.limitView()).used).toBeGreaterThanOrEqual(40_000);
  });

  it('a refusal begins no window, whatever end it states', async () => {
    const town = await Town.open();
    const resetAt = town.time.wall() + HOUR;
    await call(town, 60_000, [amount(40_000, { resetAt })], { model: 'large' });
    await town.pass(HOUR - 2_000);
    const next = [amount(0, { resetAt: resetAt + 5 * HOUR })];
    await town.refuse(await town.admit(), { statements: next, statedWaitMs: 10 * MINUTE });
    expect((await town.limitView()).used).toBeGreaterThanOrEqual(60_000);
    expect(town.happened('window-ended')).toEqual([]);
  });

  it('a stated wait that was taken for the end does not end what goes on', async () => {
    const town = await Town.open({ observe: true });
    const resetAt = town.time.wall() + 5 * HOUR;
    await call(town, 60_000, [amount(40_000, { resetAt })], { model: 'large' });
    await town.refuse(await town.admit(), { statedWaitMs: 10 * MINUTE });
    await town.pass(9.5 * MINUTE);
    await call(town, 1_000, [amount(39_000, { resetAt })], { model: 'small' });
    expect((await town.limitView()).used).toBeGreaterThanOrEqual(60_000);
    expect(town.happened('window-ended')).toEqual([]);
  });

  describe('as a fraction, from which the budget is inferred', () => {
    /** Of a fifth at 1,000 and so much at 2,500, and what was in flight then has cost 5,000. */
    async function usedUp(used: number, options: TownOptions = {}): Promise<Town> {
      const town = await Town.open(options);
      const resetAt = town.time.wall() + 5 * HOUR;
      await call(town, 1_000, [fraction('5h', 0.2, { resetAt })], { model: 'a' });
      const slow = await town.admit({ model: 'b' });
      await call(town, 1_500, [fraction('5h', used, { resetAt })], { model: 'c' });
      await town.settle(slow, success(5_000));
      return town;
    }

    async function blocked(used: number): Promise<Town> {
      const town = await usedUp(used);
      const { until } = await town.denied();
      expect(await town.view()).toMatchObject({ state: 'exhausted', blockedUntil: until });
      return town;
    }

    it('and used up while the fraction says that there is room: requests go one at a time', async () => {
      const town = await usedUp(0.5);
      const first = await town.admit();
      expect(first.grant.ticket.role).toBe('ordinary');
      expect(await town.view()).toMatchObject({ state: 'open', blockedUntil: null });
      let waits = true;
      const second = town.ask().finally(() => (waits = false));
      await town.pass(0);
      await town.pass(5_000);
      expect(waits).toBe(true);
      await answer(town, first, 100, [fraction('5h', 0.5)]);
      await town.settle(first, success(100));
      expect((await second).kind).toBe('admitted');
      expect(town.happened('probe-taken')).toEqual([]);
      expect(await town.view()).toMatchObject({ counters: { refused: 0 } });
    });

    it('the probe after a cooldown is one of them', async () => {
      const town = await usedUp(0.5);
      await town.refuse(await town.admit(), { statedWaitMs: MINUTE });
      await town.pass(2 * MINUTE);
      expect((await town.admit()).grant.ticket.role).toBe('probe');
    });

    it('in observe mode none waits for another, or would be refused', async () => {
      const town = await usedUp(0.5, { observe: true });
      for (let requests = 0; requests < 2; requests += 1) {
        expect(await town.ask()).toMatchObject({ kind: 'admitted', observed: null });
      }
    });

    it('whatever others have used of it before', async () => {
      const town = await Town.open();
      const resetAt = town.time.wall() + 5 * HOUR;
      for (const used of [0.28, 0.51, 0.52, 0.52, 0.53]) {
        await call(town, 225, [fraction('5h', used, { resetAt })]);
      }
      expect(await town.view()).toMatchObject({ state: 'open' });
      await call(town, 225, [fraction('5h', 0.96)]);
      expect(await town.denied()).toMatchObject({ decision: 'budget', until: resetAt });
    });

    it.each([7_500, 7_600])(
      'the operator’s own budget of %i binds all the same',
      async (budget) => {
        const town = await Town.open({ limits: [limit({ budget })] });
        const resetAt = town.time.wall() + 5 * HOUR;
        await call(town, 1_000, [fraction('5h', 0.2, { resetAt })], { model: 'a' });
        const slow = await town.admit({ model: 'b' });
        await call(town, 1_500, [fraction('5h', 0.9, { resetAt })], { model: 'c' });
        await town.settle(slow, success(5_000));
        expect(await town.denied()).toMatchObject({ decision: 'budget', until: resetAt });
        expect(await town.view()).toMatchObject({ state: 'exhausted', blockedUntil: resetAt });
      },
    );

    it('exhaustion is looked into after an hour: while nothing passes, nothing more is stated', async () => {
      const town = await blocked(0.96);
      await town.pass(HOUR - MINUTE);
      await town.denied();
      await town.pass(2 * MINUTE);
      const probe = await town.admit();
      expect(probe.grant.ticket.role).toBe('routine');
      await town.denied();
      await answer(town, probe, 100, [fraction('5h', 0.97)]);
      await town.settle(probe, success(100));
      expect((await town.ask()).kind).toBe('admitted');
    });

    it('a lower budget that was learned is not looked into for its sake', async () => {
      const town = await Town.open({ limits: [limit({ budget: 20_000 })] });
      const resetAt = town.time.wall() + 5 * HOUR;
      const of = (used: number) => [fraction('5h', used, { resetAt })];
      await call(town, 10_000, of(0.1), { model: 'a' });
      await town.refuse(await town.admit({ model: 'b' }), { statedWaitMs: 10 * MINUTE });
      await town.pass(11 * MINUTE);
      await call(town, 9_000, of(0.2), { model: 'c' });
      await call(town, 1_100, of(0.4), { model: 'd' });
      expect((await town.limitView()).budget.source).toBe('learned');
      await town.denied();
      await town.pass(2 * HOUR);
      await town.denied();
    });

    it.each([null, -MINUTE])('and one that is used up, with a reset %s from now', async (ahead) => {
      const town = await Town.open();
      const resetAt = ahead === null ? null : town.time.wall() + ahead;
      await call(town, 1_000, [fraction('5h', 0.5)]);
      const told = { ...fraction('5h', 1, { resetAt }), status: 'rejected' as const };
      const named = [{ name: '5h', windowMs: 5 * HOUR }];
      const refusal = { statedWaitMs: 1_000, limits: named, statements: [told] };
      await town.refuse(await town.admit(), refusal);
      await town.pass(2_000);
      expect(await town.denied()).toMatchObject({ decision: 'budget' });
      await town.pass(HOUR);
      const look = await town.admit();
      expect(look.grant.ticket.role).not.toBe('ordinary');
      await answer(town, look, 100, [fraction('5h', 0, { resetAt: town.time.wall() + 5 * HOUR })]);
      await town.settle(look, success(100));
      await town.admit();
    });

    it('a window that is stated to be used up is not', async () => {
      const town = await blocked(1);
      await town.pass(2 * HOUR);
      await town.denied();
    });
  });

  describe('and that it is used up, with a refusal for the days to come', () => {
    const named = { name: '7d', windowMs: 7 * DAY };

    async function refused(town: Town, used: Partial<LimitStatement>): Promise<void> {
      const admission = await town.admit();
      const resetAt = town.time.wall() + 34 * HOUR;
      const told = statement({ ...named, status: 'rejected', resetAt, ...used });
      const refusal = { statedWaitMs: 34 * HOUR, limits: [named], statements: [told] };
      await town.refuse(admission, refusal);
    }

    it.each([
      ['a fraction, within the operator’s budget', 1_000_000, { utilization: 1 }],
      ['a fraction, with nothing learned', null, { utilization: 1 }],
      ['an amount', 1_000_000, { limit: 800_000, remaining: 0, status: null }],
    ] as const)(
      'as %s: the upstream is asked once an hour all the same',
      async (_, budget, used) => {
        const town = await Town.open({ limits: [limit({ ...named, budget })] });
        await town.call(1_000);
        await refused(town, used);
        for (let looks = 0; looks < 2; looks += 1) {
          await town.pass(HOUR - MINUTE);
          expect(await town.denied()).toMatchObject({ decision: 'cooldown' });
          await town.pass(MINUTE);
          if (looks === 0) await refused(town, used);
        }
        await town.call(10);
        expect(await town.view()).toMatchObject({ state: 'open', limits: [{ used: 10 }] });
        const probes = town.events.filter((event) => event.kind === 'probe-taken');
        expect(probes.map(({ role }) => role)).toEqual(['routine', 'routine']);
      },
    );

    it('no look goes beyond the operator’s own budget', async () => {
      const town = await Town.open({ limits: [limit({ ...named, budget: 1_000 })] });
      await town.call(590);
      await refused(town, { utilization: 1 });
      for (let hours = 0; hours < 4; hours += 1) {
        await town.pass(HOUR);
        expect(await town.ask({ bodyBytes: 100 })).toMatchObject({ kind: 'refused' });
      }
      await town.admit();
    });
  });

  it('the operator’s own budget still binds', async () => {
    const town = await Town.open({ limits: [limit({ budget: 2_000 })] });
    await call(town, 1_900, [amount(98_000)]);
    expect(await town.denied()).toMatchObject({ decision: 'budget' });
    expect((await town.limitView()).budget.source).toBe('configured');
  });

  it('a large request of ours is not taken for somebody else’s', async () => {
    const town = await Town.open();
    await call(town, 1_000, [amount(99_000)]);
    const large = await town.admit();
    const other = await town.admit();
    // The upstream has counted the large one before its answer has told us.
    await answer(town, other, 300, [amount(38_700)]);
    expect((await town.limitView()).used).toBeGreaterThan(61_000);
    await answer(town, large, 60_000, [amount(38_700)]);
    await town.settle(other, success(300));
    await town.settle(large, success(60_000));
    expect((await town.limitView()).used).toBeLessThanOrEqual(61_300 + 1_500);
  });

  it('a refusal that says so is what the limit was met with, others’ use included', async () => {
    const town = await Town.open();
    await call(town, 30_000, []);
    const refused = await town.admit();
    await town.refuse(refused, { statedWaitMs: HOUR, statements: [amount(0)] });
    const { calibration } = await town.view();
    expect(calibration.samples[0]?.tokens).toBeGreaterThanOrEqual(LIMIT);
    expect((await town.limitView()).budget).toMatchObject({ source: 'headers', learned: null });
  });

  it('it is told as an event when it begins to lead, and not with every statement', async () => {
    const town = await Town.open();
    for (let n = 1; n <= 5; n += 1) await call(town, 100, [amount(LIMIT - 100 * n)]);
    expect(town.happened('budget-stated')).toMatchObject([{ previous: null, stated: LIMIT }]);
    expect(town.happened('budget-moved')).toEqual([]);
  });

  it('it survives a crash', async () => {
    const town = await Town.open();
    await call(town, 1_000, [amount(0)]);
    await town.crash();
    expect(await town.denied()).toMatchObject({ decision: 'budget' });
    expect((await town.limitView()).budget.source).toBe('headers');
  });

  it('what was orphaned counts no longer than the upstream needs to show that it was not spent', async () => {
    const town = await Town.open();
    await call(town, 1_000, [amount(99_000)]);
    await town.admit({ bodyBytes: 100_000 });
    await town.crash();
    expect((await town.limitView()).orphaned).toBeGreaterThan(30_000);
    await call(town, 1_000, [amount(98_000)]);
    expect((await town.limitView()).orphaned).toBeLessThanOrEqual(1_000);
  });

  it('a bucket of a minute says nothing about a window of hours', async () => {
    const town = await Town.open({ limits: [limit({ budget: 50_000 })] });
    await call(town, 100, [amount(0, { windowMs: MINUTE })]);
    expect((await town.ask()).kind).toBe('admitted');
    expect((await town.limitView()).budget.source).toBe('configured');
  });
});

describe('several limits', () => {
  const limits = [
    limit({ name: '5h' }),
    limit({ name: '7d', windowMs: 7 * DAY }),
    limit({ name: '7d_opus', windowMs: 7 * DAY, models: ['claude-opus-*'] }),
  ];

  it('each have their own statement', async () => {
    const town = await Town.open({
      limits: [
        limit({ name: 'in', unit: 'input_tokens' }),
        limit({ name: 'out', unit: 'output_tokens' }),
        limit({ name: 'asked', unit: 'requests' }),
      ],
    });
    await call(town, 1_000, [
      amount(50_000, { name: 'input_tokens' }),
      amount(4_000, { name: 'output_tokens', limit: 5_000 }),
      amount(0, { name: 'requests', limit: 50 }),
      amount(0, { name: 'tokens' }),
    ]);
    const { limits: views } = await town.view();
    expect(views.map(({ budget }) => budget.source)).toEqual(['headers', 'headers', 'headers']);
    expect(views[0]?.used).toBeLessThan(52_000);
    expect(await town.denied()).toMatchObject({ decision: 'budget', limit: 'asked' });
  });

  it('a rejected window of one model binds no other', async () => {
    const town = await Town.open({ limits });
    const rejected = [
      statement({ name: 'unified', status: 'rejected' }),
      fraction('5h', 0.2),
      fraction('7d', 0.9, { status: 'warning' }),
      fraction('7d_opus', 1, { status: 'rejected', representative: true }),
    ];
    await call(town, 1_000, rejected, { model: 'claude-opus-4-8' });
    const opus = await town.ask({ model: 'claude-opus-4-8' });
    expect(opus).toMatchObject({
      kind: 'refused',
      denial: { decision: 'budget', limit: '7d_opus' },
    });
    expect((await town.ask({ model: 'claude-sonnet-5' })).kind).toBe('admitted');
  });

  it('one that is not configured binds nothing before the upstream refuses for it', async () => {
    const town = await Town.open({ limits: limits.slice(0, 1) });
    const spent = fraction('7d', 1, { status: 'rejected' });
    await call(town, 1_000, [fraction('5h', 0.2), spent]);
    const admission = await town.admit();
    const statedWaitMs = 3 * HOUR;
    const named = [{ name: '7d', windowMs: 7 * DAY }];
    await town.refuse(admission, { statedWaitMs, limits: named, statements: [spent] });
    expect(await town.denied()).toMatchObject({ decision: 'cooldown' });
  });

  it('a window that is used up does not bind whoever pays for what goes beyond it', async () => {
    const town = await Town.open({ limits: limits.slice(0, 1) });
    const spent = fraction('5h', 1.02, { status: 'rejected' });
    const paid = statement({ name: 'overage', status: 'allowed' });
    await call(town, 1_000, [spent, paid]);
    expect((await town.ask()).kind).toBe('admitted');
    await call(town, 1_000, [spent]);
    expect((await town.ask()).kind).toBe('refused');
  });
});

/** Counts the updates that wrote something. */
function counted(writes: { count: number }): NonNullable<TownOptions['wrap']> {
  return (repository) => {
    const update: StateRepository['update'] = (scope, decide) =>
      repository.update(scope, (state, now) => {
        const decision = decide(state, now);
        if (decision.state !== state) writes.count += 1;
        return decision;
      });
    return new Proxy(repository, {
      get: (target, key) => {
        const value = key === 'update' ? update : Reflect.get(target, key, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  };
}

describe('headers on every answer', () => {
  it('are written only where they say more than our own charge does', async () => {
    const written: number[] = [];
    for (const stating of [false, true]) {
      const writes = { count: 0 };
      const town = await Town.open({ wrap: counted(writes) });
      await call(town, 1_000, [amount(99_000)]);
      writes.count = 0;
      for (let round = 1; round <= 20; round += 1) {
        await call(town, 1_000, stating ? [amount(99_000 - 1_000 * round)] : []);
      }
      written.push(writes.count);
    }
    expect(written[0]).toBeGreaterThan(0);
    expect(written[1]).toBe(written[0]);
  });

  it('are news where others spend, the limit changes, or a fraction rises', () => {
    const news = new StatementNews();
    const spent = { requests: 1, inputTokens: 5_000, outputTokens: 0 };
    expect(news.has('m', [])).toBe(false);
    expect(news.has('m', [amount(90_000)])).toBe(true);
    expect(news.has('m', [amount(90_000)])).toBe(false);
    expect(news.has('other', [amount(90_000)])).toBe(true);
    news.spend('m', spent);
    expect(news.has('m', [amount(85_100)])).toBe(false);
    expect(news.has('m', [amount(84_000)])).toBe(true);
    expect(news.has('m', [amount(84_000, { limit: 2 * LIMIT })])).toBe(true);
    expect(news.has('m', [fraction('5h', 0.3)])).toBe(true);
    expect(news.has('m', [fraction('5h', 0.3, { resetAt: 5 })])).toBe(true);
    expect(news.has('m', [fraction('5h', 0.31, { resetAt: 5 })])).toBe(true);
    expect(news.has('m', [fraction('5h', 0.31, { resetAt: 5 })])).toBe(false);
  });

  it('of a bucket that refills are no news for their reset, which moves all the time', () => {
    const news = new StatementNews();
    expect(news.has('m', [amount(900, { windowMs: MINUTE, resetAt: 5 })])).toBe(true);
    expect(news.has('m', [amount(900, { windowMs: MINUTE, resetAt: 6 })])).toBe(false);
  });

  it('are kept apart for so many models, those that were used last', () => {
    const news = new StatementNews();
    for (let model = 0; model < 128; model += 1) news.has(`m${model}`, [amount(5)]);
    expect(news.has('m0', [amount(5)])).toBe(false);
    expect(news.has('m128', [amount(5)])).toBe(true);
    expect(news.has('m128', [amount(5)])).toBe(false);
    expect(news.has('m0', [amount(5)])).toBe(false);
    expect(news.has('m1', [amount(5)]), 'forgotten for the one beyond').toBe(true);
  });
});

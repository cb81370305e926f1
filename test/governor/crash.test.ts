import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NO_PROMISES } from '../../src/budget/promised.js';
import type { Admission } from '../../src/governor/admission.js';
import { admit } from '../../src/governor/admit.js';
import { Draft } from '../../src/governor/draft.js';
import { startInstance } from '../../src/governor/upkeep.js';
import type { StateLoss } from '../../src/state/scope-state.js';
import {
  DAY,
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

/** What an adapter does that lost or restored the scope. */
function lose(town: Town, loss: Partial<StateLoss> = {}): void {
  const state = town.disk.scopes.get(SCOPE)!;
  const lost = { reason: 'corrupt' as const, at: town.time.wall(), recordedAt: null, ...loss };
  town.disk.scopes.set(SCOPE, { ...state, hot: { ...state.hot, lost } });
}

describe.each(['fixed', 'sliding', 'bucket'] as const)(
  'an answer longer than a %s window',
  (kind) => {
    it('that cost more than there is in a window holds the next one back, and no longer', async () => {
      const town = await Town.open({ limits: [limit({ kind, budget: 40_000, windowMs: MINUTE })] });
      const long = await town.admit({ model: 'long' });
      await town.pass(2 * MINUTE);
      await town.tick();
      await town.settle(long, success(60_000));
      await town.pass(3 * MINUTE);
      await town.tick();
      expect((await town.ask()).kind).toBe('admitted');
    });
  },
);

describe('after a crash', () => {
  it('what was in flight stays charged, as orphaned, until the window ends', async () => {
    const town = await Town.open({ limits: [limit({ budget: 10_000, windowMs: HOUR })] });
    await town.call(1_000);
    await town.admit({ bodyBytes: 1_000 });
    await town.crash();
    expect(await town.limitView()).toMatchObject({ used: 1_705, reserved: 0, orphaned: 705 });
    expect(town.happened('charge-orphaned')).toHaveLength(1);
    await town.pass(HOUR);
    expect(await town.limitView()).toMatchObject({ used: 0, orphaned: 0 });
  });

  it('the cooldown, its rung and its episode go on', async () => {
    const town = await Town.open();
    await town.refuse(await town.admit());
    await town.pass(30 * SECOND);
    await town.refuse(await town.admit());
    const before = await town.view();
    await town.crash();
    const after = await town.view();
    expect(after.cooldown).toEqual(before.cooldown);
    expect(after.cooldown).toMatchObject({ consecutive: 2, episode: 1 });
    expect(await town.denied()).toMatchObject({ decision: 'cooldown' });
  });

  it('a probe that was out keeps its place for its 10 s', async () => {
    const town = await Town.open();
    await town.refuse(await town.admit());
    await town.pass(30 * SECOND);
    await town.admit();
    await town.crash();
    expect(await town.denied()).toMatchObject({ decision: 'probing' });
    await town.pass(10 * SECOND);
    expect((await town.admit()).grant.ticket.role).toBe('probe');
  });

  it('the ramp after a refusal of acceleration goes on, whoever starts', async () => {
    const town = await Town.open();
    await town.pass(MINUTE);
    await town.refuse(await town.admit(), { kind: 'acceleration', statedWaitMs: 10 * SECOND });
    await town.pass(10 * SECOND);
    const probe = await town.admit();
    town.governor.succeeded(probe, []);
    await town.settle(probe, success(10));
    const { ramp } = town.disk.scopes.get(SCOPE)!.hot;
    await town.crash();
    expect(town.disk.scopes.get(SCOPE)!.hot.ramp).toEqual(ramp);
  });

  it('the guards remember: traffic, the last step, the last refusal', async () => {
    const town = await Town.open({ limits: [limit({ budget: 1_000 })] });
    await town.call(950);
    await town.denied();
    await town.pass(50 * MINUTE);
    await town.crash();
    await town.pass(10 * MINUTE);
    await town.tick();
    expect((await town.limitView()).budget.current).toBe(1_030);
    await town.crash();
    await town.tick();
    expect((await town.view()).guards).toEqual({ tokens: 'nudged-lately' });
  });

  it('a sample with more than 2 % orphaned is discarded', async () => {
    const town = await Town.open({ limits: [limit({ budget: 10_000 })] });
    await town.call(8_000);
    await town.admit({ bodyBytes: 1_000 });
    await town.crash();
    await town.refuse(await town.admit(), { statedWaitMs: HOUR });
    const { samples } = (await town.view()).calibration;
    expect(samples).toMatchObject([{ accepted: false, reason: 'orphaned' }]);
  });

  it('the starts are counted: 5 unclean ones in 5 minutes hold the controller back', async () => {
    const town = await Town.open({ limits: [limit({ budget: 1_000 })] });
    await town.call(950);
    await town.denied();
    await town.pass(HOUR);
    for (let crash = 0; crash < 5; crash += 1) {
      await town.crash();
      await town.pass(30 * SECOND);
    }
    const { starts } = await town.view();
    expect(starts).toMatchObject({ unclean: 5, crashLoop: true, recent: 6 });
    await town.tick();
    expect((await town.view()).guards).toEqual({ tokens: 'crash-loop' });
  });

  it('15 unclean starts in two hours are a crash loop too, however far apart', async () => {
    const town = await Town.open();
    for (let crash = 0; crash < 15; crash += 1) {
      expect((await town.view()).starts.crashLoop).toBe(false);
      await town.pass(7 * MINUTE);
      await town.crash();
    }
    expect((await town.view()).starts.crashLoop).toBe(true);
  });
});

describe('after a clean stop', () => {
  it('nothing is unsettled, and the next start is not unclean', async () => {
    const town = await Town.open();
    const admission = await town.admit();
    town.governor.settle(admission, success(10));
    await town.stop();
    for (let restart = 0; restart < 20; restart += 1) {
      await town.start();
      await town.pass(SECOND);
      await town.stop();
    }
    await town.start();
    expect(await town.limitView()).toMatchObject({ used: 10, reserved: 0, orphaned: 0 });
    expect((await town.view()).starts).toMatchObject({ unclean: 0, crashLoop: false, recent: 22 });
  });
});

describe('after a loss of state', () => {
  it('the budget is at its floor and nothing is learned until a whole window was seen', async () => {
    const town = await Town.open({ limits: [limit({ budget: 10_000 })] });
    lose(town);
    await town.crash();
    expect(await town.view()).toMatchObject({ state: 'cautious' });
    expect((await town.limitView()).budget.current).toBe(3_000);
    await town.call(3_000);
    expect(await town.denied()).toMatchObject({ decision: 'budget' });
    await town.tick();
    expect((await town.view()).guards).toEqual({ tokens: 'cautious' });
    await town.pass(5 * HOUR);
    expect(await town.view()).toMatchObject({ state: 'open', cautious: null });
    expect((await town.limitView()).budget.current).toBe(10_000);
  });

  it('no look at a long cooldown goes beyond the floor', async () => {
    const town = await Town.open({ limits: [limit({ windowMs: DAY, budget: 10_000 })] });
    lose(town);
    await town.crash();
    const refused = await town.admit();
    town.governor.succeeded(refused, []);
    await town.settle(refused, success(2_700));
    await town.refuse(await town.admit({ bodyBytes: 0 }), { statedWaitMs: 10 * HOUR });
    await town.pass(HOUR);
    expect(await town.denied()).toMatchObject({ decision: 'budget' });
  });

  it('is remembered across a crash', async () => {
    const town = await Town.open({ limits: [limit({ budget: 10_000 })] });
    lose(town);
    await town.crash();
    await town.pass(HOUR);
    await town.crash();
    expect(await town.view()).toMatchObject({ state: 'cautious', cautious: { reason: 'corrupt' } });
  });

  it('a refusal within that window teaches nothing', async () => {
    const town = await Town.open({ limits: [limit({ budget: 10_000 })] });
    lose(town);
    await town.crash();
    await town.call(2_000);
    await town.pass(5 * HOUR - 251);
    await town.refuse(await town.admit(), { statedWaitMs: HOUR });
    expect((await town.view()).calibration.samples).toMatchObject([{ reason: 'state-lost' }]);
  });

  it('without a budget one request flies at a time, twice as many after each success', async () => {
    const town = await Town.open();
    lose(town);
    await town.crash();
    const first = await town.admit();
    expect(await town.denied()).toMatchObject({ decision: 'budget' });
    town.governor.succeeded(first, []);
    await town.settle(first, success(1));
    const pair = [await town.admit(), await town.admit()];
    expect((await town.ask()).kind).toBe('refused');
    for (const one of pair) {
      town.governor.succeeded(one, []);
      await town.settle(one, success(1));
    }
    for (let more = 0; more < 8; more += 1) await town.admit();
    expect((await town.ask()).kind).toBe('refused');
  });

  it('without a budget what dies unanswered keeps its place for 10 s', async () => {
    const town = await Town.open();
    lose(town);
    await town.crash();
    let admitted = 1;
    await town.admit();
    for (let second = 0; second < 17; second += 1) {
      await town.pass(SECOND);
      await town.crash();
      if ((await town.ask()).kind === 'admitted') admitted += 1;
    }
    expect(admitted).toBe(2);
    await town.pass(3 * SECOND);
    const answered = await town.admit();
    town.governor.succeeded(answered, []);
    await town.settle(answered, success(1));
    expect([(await town.ask()).kind, (await town.ask()).kind]).toEqual(['admitted', 'admitted']);
    expect((await town.ask()).kind).toBe('refused');
  });

  it('ends with the first limit header', async () => {
    const town = await Town.open({ limits: [limit({ budget: 10_000 })] });
    lose(town);
    await town.crash();
    const admission = await town.admit();
    town.governor.succeeded(admission, [statement({ name: '5h', windowMs: 5 * HOUR })]);
    await town.settle(admission, success(1));
    expect(await town.view()).toMatchObject({ state: 'open', cautious: null });
    expect(town.happened('cautious-ended')).toEqual([
      { kind: 'cautious-ended', by: 'limit-header' },
    ]);
  });

  it('ends with the first limit header of a refusal, too', async () => {
    const town = await Town.open({ limits: [limit({ budget: 10_000 })] });
    lose(town);
    await town.crash();
    await town.refuse(await town.admit(), { kind: 'acceleration', statedWaitMs: SECOND });
    expect((await town.view()).cautious).not.toBeNull();
    await town.pass(2 * SECOND);
    const statements = [statement({ name: '5h', windowMs: 5 * HOUR })];
    await town.refuse(await town.admit(), {
      kind: 'acceleration',
      statedWaitMs: SECOND,
      statements,
    });
    expect((await town.view()).cautious).toBeNull();
  });

  it('of the clock keeps every remaining wait as long as it was', async () => {
    const town = await Town.open({ limits: [limit({ budget: 10_000 })] });
    await town.refuse(await town.admit(), { statedWaitMs: HOUR });
    const recordedAt = town.time.wall();
    town.time.stepWall(-48 * HOUR);
    lose(town, { reason: 'clock', at: town.time.wall(), recordedAt });
    await town.crash();
    const { until, now } = await town.denied();
    expect(until - now).toBe(HOUR - 250);
    const { window } = await town.limitView();
    expect(window.endsAt! - now).toBe(HOUR - 250);
  });
});

/** Steps of a life: requests that cost exactly their estimate, refusals, time, and SIGKILL. */
const step = fc.oneof(
  { weight: 6, arbitrary: fc.constant('admit' as const) },
  { weight: 4, arbitrary: fc.constant('succeed' as const) },
  { weight: 1, arbitrary: fc.constant('refuse' as const) },
  { weight: 1, arbitrary: fc.constant('refuse barely' as const) },
  { weight: 1, arbitrary: fc.constant('tick' as const) },
  { weight: 1, arbitrary: fc.constant('abort' as const) },
  { weight: 3, arbitrary: fc.constant('crash' as const) },
  { weight: 4, arbitrary: fc.constantFrom(SECOND, 10 * SECOND, 31 * SECOND, 11 * MINUTE, HOUR) },
);

describe('whenever it crashes', () => {
  it('no window admits more than the budget, and nothing passes in a cooldown', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60, size: 'max' }), async (steps) => {
        const town = await Town.open({ limits: [limit({ budget: 4_060, windowMs: HOUR })] });
        let flying: Admission[] = [];
        let forwarded = 0;
        let window = 0;
        let blockedUntil = 0;
        for (const action of steps) {
          if (typeof action === 'number') await town.pass(action);
          else if (action === 'crash') {
            flying = [];
            await town.crash();
          } else if (action === 'tick') await town.tick();
          else if (action === 'admit') {
            const outcome = await town.ask();
            if (outcome.kind !== 'admitted') continue;
            const { admission } = outcome;
            const { charge, admittedAt } = admission.grant;
            expect(admittedAt).toBeGreaterThanOrEqual(blockedUntil);
            if (charge['tokens']!.window !== window) forwarded = 0;
            window = charge['tokens']!.window;
            forwarded += charge['tokens']!.amount;
            expect(forwarded).toBeLessThanOrEqual(4_060);
            flying.push(admission);
          } else {
            const admission = flying.shift();
            if (admission === undefined) continue;
            const { amount } = admission.grant.charge['tokens']!;
            if (action === 'succeed') {
              town.governor.succeeded(admission, []);
              await town.settle(admission, success(amount));
            } else if (action === 'abort') await town.settle(admission, { kind: 'no-answer' });
            else {
              const stated = { kind: 'quota', statedWaitMs: 10 * MINUTE } as const;
              await town.refuse(admission, action === 'refuse' ? stated : { kind: 'unknown' });
              forwarded -= amount;
              blockedUntil = (await town.view()).cooldown?.until ?? 0;
              // A refused quota ends its window: from here on the count begins anew.
              window = -1;
            }
          }
        }
      }),
      { numRuns: 150 },
    );
  });
});

/** How many of those pass that ask at once, and then each second. */
function burst(draft: Draft): number {
  const cost = { requests: 1, inputTokens: 1, outputTokens: 1 };
  const asked = {
    cost,
    coldTokens: 0,
    model: 'm',
    promises: NO_PROMISES,
    instance: 'a',
    observe: false,
  };
  let { state } = draft;
  let admitted = 0;
  for (let second = 0; second <= 12; second += 1) {
    const now = draft.now + second * SECOND;
    for (let ask = 0; ask < 40; ask += 1) {
      const next = new Draft(state, now, draft.rules);
      if (admit(next, POLICIES, asked).kind === 'admitted') admitted += 1;
      ({ state } = next);
    }
  }
  return admitted;
}

describe('a crash and whoever asks after it', () => {
  const action = fc.oneof(
    { weight: 6, arbitrary: fc.constant('admit' as const) },
    { weight: 3, arbitrary: fc.constant('succeed' as const) },
    { weight: 1, arbitrary: fc.constantFrom('acceleration' as const, 'transient' as const) },
    { weight: 4, arbitrary: fc.constantFrom(1, SECOND, 5 * SECOND, 31 * SECOND, 11 * MINUTE) },
  );
  const kinds = fc.constantFrom('fixed' as const, 'sliding' as const, 'bucket' as const);

  it('let no more through than without it', async () => {
    const actions = fc.array(action, { maxLength: 40, size: 'max' });
    await fc.assert(
      fc.asyncProperty(actions, kinds, fc.option(fc.nat(40_000)), async (steps, kind, budget) => {
        const town = await Town.open({ limits: [limit({ kind, budget, windowMs: HOUR })] });
        const flying: Admission[] = [];
        for (const step of steps) {
          if (typeof step === 'number') {
            await town.pass(step);
          } else if (step === 'admit') {
            const outcome = await Promise.race([town.ask(), town.pass(0).then(() => null)]);
            if (outcome?.kind === 'admitted') flying.push(outcome.admission);
          } else {
            const admission = flying.shift();
            if (admission === undefined) continue;
            if (step === 'succeed') {
              town.governor.succeeded(admission, []);
              await town.settle(admission, success(500));
            } else {
              await town.refuse(admission, { kind: step });
            }
          }
        }
        await town.pass(250);
        const state = town.disk.scopes.get(SCOPE)!;
        // Those keep their places for 10 s, and no longer.
        if (state.hot.backoff.probes.length > 0) return;
        const now = town.time.wall();
        const crashed = new Draft(state, now, town.rules);
        startInstance(crashed, POLICIES, { name: 'a', alone: true });
        expect(burst(crashed)).toBeLessThanOrEqual(burst(new Draft(state, now, town.rules)));
      }),
      { numRuns: 150 },
    );
  });
});

describe('the organizations of credentials', () => {
  it('are known after a crash as before it, and the oldest make room', async () => {
    const town = await Town.open();
    const keys = town.governor.keysOf(SCOPE);
    for (let key = 0; key < 260; key += 1) void keys.learn(`key-${key}`, `org-${key}`);
    await town.pass(0);
    expect(keys.organizationOf('key-259')).toBe('org-259');
    await town.crash();
    await town.governor.load();
    const again = town.governor.keysOf(SCOPE);
    expect(again.organizationOf('key-259')).toBe('org-259');
    expect(again.organizationOf('key-4')).toBe('org-4');
    expect(again.organizationOf('key-3')).toBeUndefined();
  });

  it('count only once they are durable', async () => {
    const town = await Town.open();
    const keys = town.governor.keysOf(SCOPE);
    const learned = keys.learn('key', 'org');
    expect(keys.organizationOf('key')).toBeUndefined();
    await learned;
    expect(keys.organizationOf('key')).toBe('org');
  });
});

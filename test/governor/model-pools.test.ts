import { describe, expect, it } from 'vitest';
import { DAY, HOUR, limit, MINUTE, success, Town } from './support.js';

const OPUS = 'claude-opus-4-1';
const SONNET = 'claude-sonnet-4-5';

const SHARED = limit({ name: '7d', windowMs: 7 * DAY, budget: 100_000 });
const POOL = limit({
  name: '7d_opus',
  windowMs: 7 * DAY,
  budget: 2_000,
  models: ['claude-opus-*'],
});

/** One request of `model` at this cost. */
async function call(town: Town, model: string, tokens: number): Promise<void> {
  const admission = await town.admit({ model });
  town.governor.succeeded(admission, []);
  await town.settle(admission, success(tokens));
}

describe('a limit with models', () => {
  it('is charged for their requests only, and holds back only those', async () => {
    const town = await Town.open({ limits: [SHARED, POOL] });
    await call(town, SONNET, 10_000);
    await call(town, OPUS, 2_000);
    expect(await town.limitView(0)).toMatchObject({ used: 12_000 });
    expect(await town.limitView(1)).toMatchObject({ used: 2_000, models: ['claude-opus-*'] });
    const refused = await town.ask({ model: OPUS });
    expect(refused).toMatchObject({ denial: { decision: 'budget', limit: '7d_opus' } });
    expect(await town.ask({ model: SONNET })).toMatchObject({ kind: 'admitted' });
  });

  it('takes a request whose model is unknown for one of its own', async () => {
    const town = await Town.open({ limits: [SHARED, POOL] });
    await call(town, '', 2_000);
    expect((await town.limitView(1)).used).toBe(2_000);
    expect(await town.ask({ model: '' })).toMatchObject({ kind: 'refused' });
  });

  it('leaves the scope open when it alone is exhausted', async () => {
    const town = await Town.open({ limits: [SHARED, POOL] });
    await call(town, OPUS, 2_000);
    expect(await town.view()).toMatchObject({ state: 'open', blockedUntil: null });
    await call(town, SONNET, 98_000);
    const { state, blockedUntil } = await town.view();
    expect(state).toBe('exhausted');
    expect(blockedUntil).toBe((await town.limitView(0)).window.endsAt);
  });

  it('writes at once for the first success only: a pool of others has nothing to wait for', async () => {
    const town = await Town.open({ limits: [SHARED, POOL] });
    await call(town, SONNET, 10);
    expect((await town.admit({ model: SONNET })).grant.awaited).toBe(false);
    expect((await town.admit({ model: OPUS })).grant.awaited).toBe(true);
  });

  it('is not to blame for what refused another model', async () => {
    const town = await Town.open({ limits: [{ ...SHARED, budget: 300_000 }, POOL] });
    await call(town, OPUS, 1_900);
    await call(town, SONNET, 90_000);
    await town.refuse(await town.admit({ model: SONNET }), { statedWaitMs: HOUR });
    const { samples } = (await town.view()).calibration;
    expect(samples).toMatchObject([{ limit: '7d', tokens: 91_900, accepted: true }]);
    await town.tick();
    expect((await town.limitView(1)).budget.learned).toBeNull();
  });

  it('counts in observe mode as it would in earnest', async () => {
    const town = await Town.open({ limits: [SHARED, POOL], observe: true });
    await call(town, OPUS, 2_000);
    const passed = await town.ask({ model: OPUS });
    expect(passed).toMatchObject({ kind: 'admitted', observed: { limit: '7d_opus' } });
    expect(await town.ask({ model: SONNET })).toMatchObject({ observed: null });
    expect((await town.limitView(1)).reserved).toBeGreaterThan(0);
  });
});

describe('several limits', () => {
  it('are not probed beyond the one that an operator bound', async () => {
    const week = limit({ name: '7d', windowMs: 7 * DAY });
    const hours = limit({ name: '5h', budget: 3_000 });
    const town = await Town.open({ limits: [hours, week] });
    // The week's limit is learned: one sample, of 2,000.
    await town.call(2_000);
    await town.refuse(await town.admit(), {
      statedWaitMs: MINUTE * 10,
      limits: [{ name: '7d', windowMs: 7 * DAY }],
    });
    expect((await town.limitView(1)).budget).toMatchObject({ source: 'learned' });
    await town.pass(11 * MINUTE);
    const probe = await town.admit();
    town.governor.succeeded(probe, []);
    await town.settle(probe, success(1_000));
    expect(await town.denied()).toMatchObject({ decision: 'budget' });
    for (let hours4 = 0; hours4 < 4; hours4 += 1) {
      await town.pass(HOUR);
      expect(await town.ask(), 'the five hours hold').toMatchObject({ kind: 'refused' });
    }
    await town.pass(HOUR);
    expect((await town.admit()).grant.ticket.role).toBe('routine');
  });
});

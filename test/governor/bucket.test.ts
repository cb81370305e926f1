import { describe, expect, it } from 'vitest';
import { HOUR, limit, MINUTE, SCOPE, SECOND, success, Town } from './support.js';

/** A token a millisecond. */
const BUCKET = limit({ kind: 'bucket', windowMs: MINUTE, budget: 60_000 });

/** Requests of a thousand tokens, `perMinute` of them, for so long. */
async function load(town: Town, perMinute: number, minutes: number): Promise<void> {
  for (let sent = 0; sent < perMinute * minutes; sent += 1) {
    await town.call(1_000);
    await town.pass(MINUTE / perMinute - 250);
  }
}

describe('a bucket', () => {
  it('refuses until the very moment there is room, and writes nothing for it', async () => {
    const town = await Town.open({ limits: [BUCKET] });
    await town.call(59_900);
    const denial = await town.denied();
    const stored = town.disk.scopes.get(SCOPE);
    // The estimate is 406, the call took 250 ms to settle.
    expect(denial).toMatchObject({ decision: 'budget', until: town.time.wall() + 406 - 100 - 250 });
    await town.pass(20);
    expect((await town.denied()).until).toBe(denial.until);
    expect(town.disk.scopes.get(SCOPE)).toBe(stored);
    const { blockedUntil, state } = await town.view();
    expect({ state, blockedUntil }).toEqual({ state: 'exhausted', blockedUntil: denial.until });
    await town.pass(denial.until - town.time.wall());
    await town.admit();
    expect((await town.limitView()).remaining).toBe(0);
  });

  it('shows when it was empty and will be', async () => {
    const town = await Town.open({ limits: [BUCKET] });
    expect((await town.limitView()).window).toMatchObject({ startedAt: null, endsAt: null });
    const began = town.time.wall();
    await town.call(30_000);
    const { window, used } = await town.limitView();
    expect(used).toBe(29_750);
    const now = town.time.wall();
    expect(window).toMatchObject({ kind: 'bucket', startedAt: began, endsAt: now + 29_750 });
    await town.pass(HOUR);
    expect((await town.limitView()).window).toMatchObject({ startedAt: null, endsAt: null });
    expect(town.happened('window-ended')).toEqual([]);
  });

  it('is learned from nothing: estimates that were too high, then the first refusal', async () => {
    const town = await Town.open({ limits: [{ ...BUCKET, budget: null }] });
    await load(town, 60, 3);
    await town.settle(await town.admit({ bodyBytes: 10_000 }), success(1));
    await town.refuse(await town.admit(), { statedWaitMs: SECOND });
    const { budget } = await town.limitView();
    expect(budget.source).toBe('learned');
    // 60,000 a minute for three minutes: a bucket of 45,000 took it, or a larger one.
    expect(budget.learned).toBeGreaterThan(44_000);
    expect(budget.learned).toBeLessThan(46_000);
  });

  it('is refused with a wait of a second for its own sake, and learns what it grants', async () => {
    // The upstream grants 40,000 a minute: at 60 requests of 1,000 it is full after two.
    const town = await Town.open({ limits: [{ ...BUCKET, budget: 90_000 }] });
    await load(town, 60, 2);
    await town.refuse(await town.admit(), { statedWaitMs: SECOND });
    expect(town.happened('cooldown-began')).toMatchObject([{ refusal: 'quota' }]);
    const [sample] = (await town.view()).calibration.samples;
    expect(sample).toMatchObject({ accepted: true, reason: null });
    expect(sample?.tokens).toBeGreaterThan(39_500);
    expect(sample?.tokens).toBeLessThan(40_500);
    expect((await town.limitView()).budget.source).toBe('learned');
    // Its own is taken for full.
    const { used, budget } = await town.limitView();
    expect(used).toBeGreaterThan(budget.current ?? 0);
  });

  it('that refuses again and again tells a limit that has fallen', async () => {
    const town = await Town.open({ limits: [BUCKET] });
    await load(town, 50, 10);
    // From here on it grants 20,000 a minute, and is refused at first for what was before.
    for (let half = 0; half < 6; half += 1) {
      await town.refuse(await town.admit(), { statedWaitMs: SECOND });
      await town.pass(10 * SECOND);
      for (let sent = 0; sent < 10; sent += 1) {
        const asked = await town.ask({ model: 'called' });
        if (asked.kind === 'admitted') {
          town.governor.succeeded(asked.admission, []);
          await town.settle(asked.admission, success(1_000));
        }
        await town.pass(1_750);
      }
    }
    const { learned } = (await town.limitView()).budget;
    expect(learned).toBeGreaterThan(18_000);
    expect(learned).toBeLessThan(22_000);
  });

  it('goes on after a crash with what has not drained', async () => {
    const town = await Town.open({ limits: [BUCKET] });
    await town.call(40_250);
    await town.admit({ bodyBytes: 1_000 });
    await town.crash();
    expect(await town.limitView()).toMatchObject({ used: 40_705, orphaned: 705 });
    await town.pass(20_000);
    const { used, orphaned } = await town.limitView();
    expect(used).toBe(20_705);
    expect(orphaned).toBe(Math.floor((705 * 20_705) / 40_705));
  });

  it('that is full to the last token says when there is room for one more', async () => {
    const town = await Town.open({ limits: [limit({ kind: 'bucket', budget: 10_000 })] });
    await town.call(10_000);
    const { state, blockedUntil, now } = await town.view();
    // 10,000 in five hours: one every 1.8 s.
    expect([state, (blockedUntil ?? 0) - now]).toEqual(['exhausted', 1_800 - 250]);
  });

  it('is held to the rate of its floor while the scope is cautious', async () => {
    const town = await Town.open({ limits: [BUCKET] });
    await town.call(1_000);
    const state = town.disk.scopes.get(SCOPE)!;
    const lost = { reason: 'corrupt' as const, at: town.time.wall(), recordedAt: null };
    town.disk.scopes.set(SCOPE, { ...state, hot: { ...state.hot, lost } });
    let admitted = 0;
    for (let second = 0; second < 58; second += 1) {
      const outcome = await town.ask({ bodyBytes: 8_650 });
      if (outcome.kind === 'admitted') admitted += 1;
      await town.pass(SECOND);
    }
    // Of 3,000 tokens each: a floor of 18,000 at once, and another that drains meanwhile.
    expect(admitted).toBeGreaterThanOrEqual(10);
    expect(admitted).toBeLessThanOrEqual(12);
  });

  it('takes a settlement of a stream that ran for longer than the bucket takes to drain', async () => {
    const town = await Town.open({ limits: [BUCKET] });
    const stream = await town.admit({ bodyBytes: 1_000 });
    await load(town, 30, 20);
    const before = (await town.limitView()).used;
    expect((await town.limitView()).reserved).toBeLessThanOrEqual(before);
    await town.settle(stream, success(5_000));
    expect((await town.limitView()).used).toBe(Math.max(0, before - 250) + 5_000 - 705);
    expect((await town.limitView()).reserved).toBe(0);
  });
});

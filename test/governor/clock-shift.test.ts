import { describe, expect, it } from 'vitest';
import { SteadyClock } from '../../src/platform/clock.js';
import { MemoryStateRepository } from '../../src/state/memory/memory-repository.js';
import { faultOf } from '../../src/state/parse-state.js';
import type { StateLoss } from '../../src/state/scope-state.js';
import { HOUR, limit, MINUTE, SCOPE, SECOND, success, Town } from './support.js';

/** What a store does that finds its clock elsewhere: `byMs` behind the record, or ahead of it again. */
function step(town: Town, byMs: number): void {
  const recordedAt = town.time.wall();
  town.time.stepWall(byMs);
  const state = town.disk.scopes.get(SCOPE)!;
  const lost: StateLoss = { reason: 'clock', at: town.time.wall(), recordedAt };
  town.disk.scopes.set(SCOPE, { ...state, hot: { ...state.hot, lost } });
}

const stateOf = (town: Town) => town.disk.scopes.get(SCOPE)!;

describe('a clock far behind the record', () => {
  it('takes everything with it that is compared with now', async () => {
    const town = await Town.open({ limits: [limit({ budget: 10_000 })] });
    await town.call(1_000);
    await town.tick();
    await town.admit();
    for (let crash = 0; crash < 5; crash += 1) await town.crash();
    step(town, -48 * HOUR);
    await town.crash();
    const { hot, cold } = stateOf(town);
    const instants = [
      hot.firstAdmittedAt,
      hot.admittedAt,
      hot.ramp?.at,
      ...Object.values(hot.instances).flatMap(({ startedAt, seenAt }) => [startedAt, seenAt]),
      ...Object.values(cold.starts).flatMap((starts) => starts.map(({ at }) => at)),
      ...Object.values(cold.guards).map(({ at }) => at),
      ...Object.values(cold.estimates).map(({ usedAt }) => usedAt),
    ];
    const now = town.time.wall();
    expect(instants.length).toBeGreaterThan(10);
    expect(instants.filter((at) => (at ?? 0) > now)).toEqual([]);
    // A crash loop is over when it is over, and not two days later.
    expect((await town.view()).starts.crashLoop).toBe(true);
    await town.pass(2 * HOUR);
    expect((await town.view()).starts.crashLoop).toBe(false);
  });

  it('keeps the wait of a model whose own window is used up', async () => {
    const town = await Town.open({ limits: [limit({ budget: 10_000 })] });
    const limits = [{ name: '7d_opus', windowMs: 7 * 24 * HOUR }];
    await town.refuse(await town.admit({ model: 'opus' }), { limits, statedWaitMs: HOUR });
    step(town, -48 * HOUR);
    await town.crash();
    const denied = await town.ask({ model: 'opus' });
    const until = town.time.wall() + HOUR - 250;
    expect(denied).toMatchObject({ denial: { decision: 'cooldown', until } });
  });

  it('may be that of a machine without one, which begins in 1970', async () => {
    const town = await Town.open({ limits: [limit({ budget: 10_000 })] });
    await town.call(9_000);
    await town.refuse(await town.admit(), { statedWaitMs: HOUR });
    await town.pass(30 * MINUTE);
    step(town, SECOND - town.time.wall());
    await town.crash();
    expect(faultOf(stateOf(town))).toBeNull();
    const { until, now } = await town.denied();
    expect(until - now).toBe(30 * MINUTE - 250);
  });

  it('forgets nothing when it is set right, however often that happens', async () => {
    const town = await Town.open({ limits: [limit({ budget: 10_000 })] });
    await town.call(1_000);
    await town.refuse(await town.admit(), { statedWaitMs: 3 * HOUR });
    const before = await town.limitView();
    const first = await town.denied();
    for (const byMs of [-6 * HOUR, 6 * HOUR, -30 * HOUR, 20 * HOUR, 10 * HOUR]) {
      step(town, byMs);
      await town.crash();
      const { until, now, decision } = await town.denied();
      expect([decision, until - now]).toEqual(['cooldown', first.until - first.now]);
    }
    expect(await town.limitView()).toMatchObject({
      used: before.used,
      window: { startedAt: before.window.startedAt, endsAt: before.window.endsAt },
    });
    expect(stateOf(town).hot.setBack).toBeNull();
  });
});

describe('the sixty-fifth name of an instance', () => {
  it('takes the place of the one longest silent, whose charge stays', async () => {
    const town = await Town.open({ limits: [limit({ budget: 1_000_000 })] });
    await town.admit({ bodyBytes: 1_000 });
    const { used } = await town.limitView();
    // Nobody takes what another has in flight for orphaned.
    const wrap = () => new MemoryStateRepository(new SteadyClock(town.time), town.disk, true);
    Object.assign(town.options, { wrap });
    for (let name = 0; name < 80; name += 1) {
      Object.assign(town.options, { instance: `pod-${name}` });
      await town.pass(MINUTE);
      await town.crash();
      await town.settle(await town.admit(), success(1));
    }
    const { hot, cold } = stateOf(town);
    expect(faultOf(stateOf(town))).toBeNull();
    expect(Object.keys(hot.instances)).toHaveLength(64);
    expect(Object.keys(cold.starts).toSorted()).toEqual(Object.keys(hot.instances).toSorted());
    expect(hot.instances).toHaveProperty('pod-79');
    expect(hot.instances).not.toHaveProperty('a');
    expect(await town.limitView()).toMatchObject({ used: used + 80, orphaned: used, reserved: 0 });
  });
});

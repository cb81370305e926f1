import { describe, expect, it } from 'vitest';
import { HOUR, limit, MINUTE, SECOND, success, Town } from './support.js';

const configured = (budget: number | null) => [limit({ budget })];

/** A budget of 10,000, and a refusal at 8,000. */
async function taught(): Promise<Town> {
  const town = await Town.open({ limits: configured(10_000) });
  for (let calls = 0; calls < 8; calls += 1) await town.call(1_000);
  await town.refuse(await town.admit(), { statedWaitMs: HOUR });
  return town;
}

/** Stops, and starts with another configuration. */
async function restart(town: Town, budget: number | null): Promise<void> {
  await town.stop();
  await town.start(configured(budget));
}

describe('a budget that left the configuration', () => {
  it('leaves none of its bounds behind', async () => {
    const town = await taught();
    await restart(town, null);
    expect((await town.limitView()).budget).toEqual({
      initial: 8_000,
      floor: 2_400,
      ceiling: 16_000,
      current: 7_760,
      learned: 8_000,
      source: 'learned',
    });
    await town.crash();
    await restart(town, 10_000);
    expect((await town.limitView()).budget).toMatchObject({ initial: 10_000, floor: 3_000 });
  });

  it('is forgotten where nothing was learned', async () => {
    const town = await Town.open({ limits: configured(10_000) });
    await town.call(1_000);
    await restart(town, null);
    expect(await town.limitView()).toMatchObject({
      used: 1_000,
      budget: { initial: null, floor: null, ceiling: null, current: null, source: 'none' },
    });
  });
});

it('a window of another length no longer blocks whoever was told of the right one', async () => {
  const town = await Town.open();
  for (let calls = 0; calls < 8; calls += 1) await town.call(1_000);
  await town.stop();
  await town.pass(10 * MINUTE);
  await town.start([limit({ windowMs: MINUTE, budget: 2_000 })]);
  expect(await town.limitView()).toMatchObject({ used: 0, remaining: 2_000 });
  await town.call(1_000);
  expect((await town.limitView()).window).toMatchObject({ lengthMs: MINUTE });
  expect(town.happened('window-ended')).toMatchObject([{ used: 8_000 }]);
});

it('what was learned of a window of another length is none of what is known of this one', async () => {
  const town = await Town.open();
  for (let calls = 0; calls < 8; calls += 1) await town.call(1_000);
  await town.refuse(await town.admit(), { statedWaitMs: HOUR });
  expect((await town.limitView()).budget).toMatchObject({ learned: 8_000, floor: 2_400 });
  await town.stop();
  // Its window is over meanwhile, and so is the cooldown.
  await town.pass(6 * HOUR);
  await town.start([limit({ windowMs: MINUTE })]);
  const none = { initial: null, floor: null, current: null, learned: null, source: 'none' };
  expect((await town.limitView()).budget).toMatchObject(none);
  await town.call(200);
  await town.call(200);
  await town.refuse(await town.admit(), { statedWaitMs: 20 * SECOND });
  expect((await town.limitView()).budget).toMatchObject({
    learned: 400,
    initial: 400,
    current: 388,
  });
  await town.crash();
  expect((await town.limitView()).budget).toMatchObject({ learned: 400 });
});

describe('refusals below the floor of a budget', () => {
  /** Three of them at about 1,000 tokens, where the floor is 3,000. */
  async function contradicted(): Promise<Town> {
    const town = await Town.open({ limits: configured(10_000) });
    for (let episode = 0; episode < 3; episode += 1) {
      await town.call(1_000);
      await town.refuse(await town.admit(), { statedWaitMs: 6 * HOUR });
      for (let look = 0; look < 7; look += 1) await town.pass(HOUR).then(() => town.tick());
      const probe = await town.admit();
      town.governor.succeeded(probe, []);
      await town.settle(probe, success(1));
    }
    expect((await town.view()).calibration.belowFloorInARow).toBe(3);
    return town;
  }

  it.each([
    ['removed', null, 0],
    ['lowered', 3_000, 0],
    ['left as it is', 10_000, 3],
  ])('are held against a budget no more that was %s', async (_, budget, inARow) => {
    const town = await contradicted();
    await restart(town, budget);
    await town.pass(MINUTE);
    expect((await town.view()).calibration.belowFloorInARow).toBe(inARow);
  });
});

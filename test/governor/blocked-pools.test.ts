import { expect, it } from 'vitest';
import { blockedPools } from '../../src/governor/blocked-pools.js';
import { HOUR, limit, Town } from './support.js';

it('of the models that are held back, those that wait longest come first', async () => {
  const town = await Town.open({ limits: [limit({ budget: 1_000_000 })] });
  for (const [model, hours] of [
    ['opus', 2],
    ['sonnet', 5],
    ['haiku', 1],
  ] as const) {
    const limits = [{ name: `7d_${model}`, windowMs: 7 * 24 * HOUR }];
    await town.refuse(await town.admit({ model }), { limits, statedWaitMs: hours * HOUR });
  }
  const order = blockedPools(await town.view()).map(({ models }) => models[0]);
  expect(order).toEqual(['sonnet', 'opus', 'haiku']);
});

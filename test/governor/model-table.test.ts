import { expect, it } from 'vitest';
import { observe } from '../../src/calibration/estimate.js';
import { leastNeeded } from '../../src/calibration/model-table.js';
import { ModelMemory } from '../../src/governor/model-memory.js';
import { BOUNDS, type ModelEstimate } from '../../src/state/scope-state.js';
import { fullScopeState } from '../support/scope-states.js';
import { HOUR, MINUTE, SCOPE, SECOND, success, Town } from './support.js';

/** A whole call of a model. */
async function call(town: Town, model: string, tokens = 1_000): Promise<void> {
  const admission = await town.admit({ model });
  town.governor.succeeded(admission, []);
  await town.settle(admission, success(tokens));
}

const learned = (town: Town) => town.disk.scopes.get(SCOPE)!.cold.estimates;

it('a model beyond the bound is learned in the place of the longest unused', async () => {
  const town = await Town.open();
  for (let model = 0; model < BOUNDS.models; model += 1) await call(town, `model-${model}`);
  // Names that look like numbers come first in every object, whenever they were added.
  await call(town, 'model-0');
  await call(town, '17');
  await town.pass(30 * SECOND);
  await call(town, '17');
  expect(Object.keys(learned(town)).length).toBe(BOUNDS.models);
  expect(learned(town)).toMatchObject({ '17': { count: 2 }, 'model-0': { count: 2 } });
  expect(learned(town)).not.toHaveProperty('model-1');
  const { estimate } = await town.admit({ model: '17', bodyBytes: 1_000 });
  expect(estimate.inputTokens, 'and not the 300 of an unlearned one').toBe(1_000_000);
});

it('a stream of made-up names pushes out no model in steady use', async () => {
  const town = await Town.open();
  for (let call_ = 0; call_ < 20; call_ += 1) await call(town, 'steady');
  for (let name = 0; name < 100; name += 1) {
    await call(town, `made-up-${name}`);
    await call(town, `made-up-${name}`);
    if (name % 40 === 0) await call(town, 'steady');
  }
  expect(Object.keys(learned(town)).length).toBe(BOUNDS.models);
  expect(learned(town)['steady']?.count).toBeGreaterThanOrEqual(20);
});

it('a name that comes once only costs no write of the cold part once the table is full', async () => {
  const town = await Town.open();
  for (let model = 0; model < BOUNDS.models; model += 1) await call(town, `model-${model}`);
  const before = learned(town);
  await call(town, 'once');
  expect(learned(town)).toBe(before);
});

it('names that push one another out cost a write only where one stays for half a minute', () => {
  const [sample] = Object.values(fullScopeState().cold.estimates) as [ModelEstimate];
  const memory = new ModelMemory();
  let writes = 0;
  for (let request = 0; request < 6_000; request += 1) {
    const model = `model-${(request * 7_919) % 24}`;
    const at = request * 10;
    const count = (memory.get(model)?.count ?? 1) + 1;
    if (memory.learn(model, { ...sample, count, usedAt: at }, at)) writes += 1;
  }
  // 16 at first, and as they double; it was 29 a second.
  expect(writes).toBeLessThan(120);
});

it('an answer that settles late does not make its model look unused', () => {
  const request = { bodyBytes: 1, trail: null };
  const usage = { inputTokens: 1, cachedTokens: 0, outputTokens: 1 };
  const early = observe(undefined, request, usage, HOUR);
  expect(observe(early, request, usage, MINUTE).usedAt).toBe(HOUR);
});

it('a model that was in steady use once makes room when it is idle for an hour', async () => {
  const town = await Town.open();
  for (let model = 0; model < BOUNDS.models; model += 1) {
    for (let time = 0; time < 20; time += 1) await call(town, `model-${model}`);
  }
  const late = { model: 'late' };
  await call(town, 'late');
  expect((await town.admit(late)).learned, 'not while all are in use').toBeUndefined();
  await town.pass(HOUR);
  await call(town, 'late');
  await town.pass(30 * SECOND);
  await call(town, 'late');
  expect(learned(town)).toHaveProperty('late');
  expect(learned(town)).not.toHaveProperty('model-0');
});

it('which one makes room does not depend on the order that a store lists them in', () => {
  const [sample] = Object.values(fullScopeState().cold.estimates) as [ModelEstimate];
  const of = (usedAt: number, count = 1) => ({ ...sample, usedAt, count });
  const models: [string, ModelEstimate][] = [
    ['steady', of(HOUR - SECOND, 20)],
    ['b', of(MINUTE)],
    ['a', of(MINUTE)],
    ['newer', of(2 * MINUTE)],
  ];
  expect(leastNeeded(models, HOUR)).toBe('a');
  expect(leastNeeded(models.toReversed(), HOUR)).toBe('a');
  expect(leastNeeded(models.slice(0, 1), HOUR)).toBeNull();
  expect(leastNeeded(models, 3 * HOUR)).toBe('a');
  expect(leastNeeded([...models, ['idle', of(0, 500)]], 3 * HOUR)).toBe('idle');
});

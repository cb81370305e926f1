import { expect, it } from 'vitest';
import { auditScope } from '../../src/state/audit.js';
import { HOUR, limit, MINUTE, SCOPE, SECOND, Town } from './support.js';

/** What `tidegate state check` says of the scope. */
function findings(town: Town): readonly string[] {
  return auditScope(town.disk.scopes.get(SCOPE)!);
}

it('a state is sound after the operator took back what was learned', async () => {
  const town = await Town.open();
  await town.call(100_000);
  await town.refuse(await town.admit(), { statedWaitMs: HOUR });
  const reset = town.governor.resetBudget(SCOPE);
  await town.pass(0);
  await reset;
  expect((await town.view()).calibration).toMatchObject({ accepted: 1, discarded: 0 });
  expect(findings(town)).toEqual([]);
});

it('a state is sound while a stream outlives what it was charged in a sliding window', async () => {
  const town = await Town.open({
    limits: [limit({ kind: 'sliding', windowMs: MINUTE, budget: 1e6 })],
  });
  await town.admit({ bodyBytes: 100_000 });
  await town.pass(50 * SECOND);
  await town.call(10);
  await town.pass(15 * SECOND);
  await town.tick();
  const { reserved, used } = await town.limitView();
  expect(reserved).toBeGreaterThan(used);
  expect(findings(town)).toEqual([]);
});

it('a state is sound while limits that left the configuration are kept', async () => {
  const town = await Town.open({ limits: [limit({ budget: 1_000 })] });
  await town.call(10);
  const state = town.disk.scopes.get(SCOPE)!;
  const left = Array.from({ length: 20 }, (_, index) => [`${index}`, state.hot.limits['tokens']!]);
  const limits = { ...state.hot.limits, ...Object.fromEntries(left) };
  town.disk.scopes.set(SCOPE, { ...state, hot: { ...state.hot, limits } });
  expect(findings(town)).toEqual([]);
});

import { expect, it } from 'vitest';
import type { ScopeView } from '../../src/governor/scope-view.js';
import type { Series, Snapshot } from '../../src/metrics/metric.js';
import { SCOPE_METRICS } from '../../src/metrics/scope-metrics.js';
import { HOUR, Town } from '../governor/support.js';

function read(name: string, views: readonly ScopeView[]): readonly Series<unknown>[] {
  const metric = SCOPE_METRICS.find((each) => each.name === name);
  return metric!.read({ views } as unknown as Snapshot);
}

it('what is left of a cooldown is never less than nothing, however long it is probed', async () => {
  const town = await Town.open();
  const left = async () => read('tidegate_scope_cooldown_left_seconds', [await town.view()]);
  await town.refuse(await town.admit(), { statedWaitMs: HOUR });
  const [atFirst] = await left();
  expect(atFirst!.value).toBeGreaterThan(3_500);
  await town.pass(2 * HOUR);
  expect((await town.view()).state).toBe('half-open');
  expect(await left()).toMatchObject([{ value: 0 }]);
});

it('a sample discarded for a reason of another version counts as other, and makes no label', async () => {
  const town = await Town.open();
  const view = await town.view();
  const sample = { at: 0, limit: null, tokens: 1, accepted: false, episode: 1 };
  const reasons = ['below-floor', 'of a version to come', 'of one long ago', null];
  const samples = reasons.map((reason) => ({ ...sample, reason }));
  const kept = read('tidegate_scope_samples_kept', [
    { ...view, calibration: { ...view.calibration, samples } },
  ]);
  const none = read('tidegate_scope_samples_kept', [view]);
  expect(kept.map(({ labels }) => labels)).toEqual(none.map(({ labels }) => labels));
  const counted = kept.filter(({ value }) => value !== 0);
  expect(counted.map(({ labels, value }) => [labels['outcome'], value])).toEqual([
    ['below-floor', 1],
    ['other', 3],
  ]);
});

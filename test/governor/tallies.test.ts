import { expect, it } from 'vitest';
import { FaultyRepository } from './faulty-repository.js';
import { HOUR, limit, SCOPE, Town, type TownOptions } from './support.js';

async function townWithFaults() {
  let store!: FaultyRepository;
  const wrap: TownOptions['wrap'] = (inner) => (store = new FaultyRepository(inner));
  const town = await Town.open({ limits: [limit({ budget: 1_000 })], wrap });
  return { town, store };
}

const failures = (town: Town) =>
  Object.fromEntries(
    town.governor.updateTally.failures.read().map(({ kind, count }) => [kind, count]),
  );

const nudges = (town: Town) =>
  town.governor
    .nudges(SCOPE)
    .read()
    .filter(({ count }) => count > 0);

it('times every update that was made durable, and none that changed nothing', async () => {
  const { town } = await townWithFaults();
  const durable = () => town.governor.updateTally.durableMs.read().count;
  const before = durable();
  expect(before, 'the start').toBe(1);
  await town.admit();
  expect(durable()).toBe(before + 1);
  await town.ask({ bodyBytes: 100_000 });
  const refused = durable();
  await town.ask({ bodyBytes: 100_000 });
  await town.ask({ bodyBytes: 100_000 });
  expect(durable(), 'a refusal writes nothing once it is on record').toBe(refused);
});

it('counts every attempt that failed, and how', async () => {
  const { town, store } = await townWithFaults();
  expect(failures(town)).toEqual({ unavailable: 0, unknown: 0 });
  const durable = town.governor.updateTally.durableMs.read().count;
  store.fault = 'unavailable';
  void town.ask();
  await town.pass(0);
  expect(failures(town)).toEqual({ unavailable: 1, unknown: 0 });
  await town.pass(100);
  expect(failures(town)).toEqual({ unavailable: 2, unknown: 0 });
  store.fault = 'unknown-lost';
  await town.pass(100);
  expect(failures(town)).toEqual({ unavailable: 2, unknown: 1 });
  expect(town.governor.updateTally.durableMs.read().count).toBe(durable);
  store.mend();
});

it('counts what came of each look at a budget', async () => {
  const { town } = await townWithFaults();
  expect(nudges(town)).toEqual([]);
  await town.call(950);
  await town.tick();
  await town.tick();
  expect(nudges(town)).toEqual([{ owner: 'tokens', kind: 'young-traffic', count: 2 }]);
  await town.pass(HOUR);
  await town.tick();
  expect(nudges(town)).toContainEqual({ owner: 'tokens', kind: 'raised', count: 1 });
});

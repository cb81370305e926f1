import { describe, expect, it } from 'vitest';
import { NO_COST } from '../../src/budget/cost.js';
import { takeAlong } from '../../src/governor/admission.js';
import type { Decide, StateRepository } from '../../src/state/state-repository.js';
import { FaultyRepository } from './faulty-repository.js';
import { success, Town } from './support.js';

/** Counts what is asked of the store. */
class CountingRepository extends FaultyRepository {
  updates = 0;

  override update<Outcome>(scope: string, decide: Decide<Outcome>): Promise<Outcome> {
    this.updates += 1;
    return super.update(scope, decide);
  }
}

async function countingTown() {
  let store!: CountingRepository;
  const wrap = (inner: StateRepository) => (store = new CountingRepository(inner));
  return { town: await Town.open({ wrap }), store };
}

async function admitted(town: Town, count: number) {
  const admissions = [];
  for (let made = 0; made < count; made += 1) {
    admissions.push(await town.admit({ bodyBytes: 1_000 }));
    // The ramp and what is not known yet hold nobody back here.
    await town.pass(0);
  }
  return admissions;
}

describe('corrections that wait for company', () => {
  it('of different requests are made in one update', async () => {
    const { town, store } = await countingTown();
    const admissions = await admitted(town, 4);
    const before = store.updates;
    for (const admission of admissions) town.governor.settle(admission, success(100));
    await town.pass(250);
    expect(store.updates - before).toBe(1);
    expect(await town.limitView()).toMatchObject({ used: 400, reserved: 0 });
  });

  it('stand before the admission that takes them along', async () => {
    const { town } = await countingTown();
    const [admission] = await admitted(town, 1);
    town.governor.settle(admission!, success(100));
    const next = await town.admit({ bodyBytes: 1_000 });
    const { used } = await town.limitView();
    expect(used).toBe(100 + next.estimate.inputTokens + next.estimate.outputTokens);
  });

  it('of one request are made one after the other, each on what the one before it left', async () => {
    const { town, store } = await countingTown();
    const [first, second] = await admitted(town, 2);
    store.fault = 'hangs';
    // More than was charged: at once.
    town.governor.amend(first!, 2_000);
    town.governor.settle(first!, success(2_100));
    town.governor.settle(second!, success(100));
    await town.pass(250);
    store.mend();
    await town.pass(250);
    expect(await town.limitView()).toMatchObject({ used: 2_200, reserved: 0 });
  });

  it('tell only once what an answer has surprised with', async () => {
    const { town } = await countingTown();
    const [admission] = await admitted(town, 1);
    const { inputTokens, outputTokens } = admission!.estimate;
    const cost = { requests: 1, inputTokens: inputTokens + 500, outputTokens };
    expect(takeAlong(admission!, cost).surprise).toEqual({ ...NO_COST, inputTokens: 500 });
    const final = { ...cost, outputTokens: outputTokens + 20 };
    expect(takeAlong(admission!, final).surprise).toEqual({ ...NO_COST, outputTokens: 20 });
  });
});

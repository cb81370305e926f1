import { expect, it } from 'vitest';
import { Governor } from '../../src/governor/governor.js';
import { SteadyClock } from '../../src/platform/clock.js';
import { MemoryStateRepository } from '../../src/state/memory/memory-repository.js';
import type { Decide, StateRepository } from '../../src/state/state-repository.js';
import { TidegateError } from '../../src/platform/tidegate-error.js';
import { ManualTime } from '../support/manual-time.js';
import { FaultyRepository } from './faulty-repository.js';
import { limit, MINUTE, POLICIES } from './support.js';

/** Fails for some scopes only. */
class PartlyFaulty extends FaultyRepository {
  readonly failing = new Set<string>();
  readonly asked: string[] = [];

  override update<Outcome>(scope: string, decide: Decide<Outcome>): Promise<Outcome> {
    this.asked.push(scope);
    if (!this.failing.has(scope)) return super.update(scope, decide);
    return Promise.reject(new TidegateError('STATE_UNAVAILABLE', `no ${scope}`));
  }
}

function open(repository: StateRepository, time: ManualTime): Governor {
  return new Governor({
    repository,
    policies: POLICIES,
    scopes: ['a', 'b', 'c', 'd'].map((name) => ({ name, limits: [limit({ budget: 1_000 })] })),
    instance: 'a',
    observe: false,
    tickMs: MINUTE,
    timers: time,
    random: () => 0,
    report: () => {},
  });
}

it('looks at every scope, whatever came of the others, and says which failed', async () => {
  const time = new ManualTime();
  const store = new PartlyFaulty(new MemoryStateRepository(new SteadyClock(time)));
  const governor = open(store, time);
  await governor.start();
  store.failing.add('a').add('c');
  store.asked.length = 0;
  await expect(governor.tick()).rejects.toThrow('a, c: no a');
  expect(store.asked).toEqual(['a', 'b', 'c', 'd']);
  for (const scope of ['b', 'd']) {
    expect(
      governor
        .nudges(scope)
        .read()
        .some(({ count }) => count > 0),
      scope,
    ).toBe(true);
  }
  store.failing.clear();
  await governor.tick();
});

it('looks no further once a stop has begun', async () => {
  const time = new ManualTime();
  const store = new PartlyFaulty(new MemoryStateRepository(new SteadyClock(time)));
  const governor = open(store, time);
  await governor.start();
  store.asked.length = 0;
  store.fault = 'hangs';
  const ticked = governor.tick();
  const stopped = governor.stop(MINUTE);
  store.mend();
  await Promise.all([ticked, stopped]);
  // The look that was under way, and the records of the stop.
  expect(store.asked).toEqual(['a', 'a', 'b', 'c', 'd']);
});

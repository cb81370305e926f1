import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BackoffPolicy } from '../../src/backoff/backoff-policy.js';
import { BudgetController } from '../../src/budget/budget-controller.js';
import { CalibrationStore } from '../../src/calibration/calibration-store.js';
import { Draft } from '../../src/governor/draft.js';
import { freshen } from '../../src/governor/upkeep.js';
import { SteadyClock } from '../../src/platform/clock.js';
import type { ScopeState } from '../../src/state/scope-state.js';
import type { Decide, StateRepository } from '../../src/state/state-repository.js';
import { HOUR, limit, MINUTE, SECOND } from '../governor/support.js';
import { FileStore } from '../support/file-store.js';
import { ManualTime } from '../support/manual-time.js';
import { increment } from '../support/scope-states.js';
import { SqliteStore } from '../support/sqlite-store.js';
import type { StoreOnDisk } from '../support/store-on-disk.js';

const RULES = [limit({ budget: 200_000 })];
const POLICIES = {
  budget: new BudgetController({ nudge: 0, nudgeEveryMs: HOUR, minTrafficMs: HOUR, minUsed: 0 }),
  backoff: new BackoffPolicy({ ladderMs: [30 * SECOND], probeEveryMs: 0 }),
  calibration: new CalibrationStore(),
};
const USED = 110_000;

function decide(change: (draft: Draft) => void): Decide<ScopeState> {
  return (state, now) => {
    const draft = new Draft(state, now, RULES);
    freshen(draft, POLICIES);
    change(draft);
    return { state: draft.state, outcome: draft.state };
  };
}

/** Spends more than half of a five-hour window, four of which are left. */
const spend = decide((draft) => {
  const cost = { requests: 1, inputTokens: USED, outputTokens: 0 };
  const request = { cost, instance: 'test', cautious: false };
  draft.setHot({
    limits: POLICIES.budget.force(draft.hot.limits, RULES, request, draft.now).limits,
  });
});
const look = decide(() => {});

/** What the window still holds, and for how long. */
async function windowOf(repository: StateRepository, clock: SteadyClock) {
  const { hot } = await repository.update('a', look);
  const { used, window } = hot.limits['tokens']!;
  const leftMs = window.endsAt === null ? 0 : window.endsAt - clock.now();
  return { used, leftMs, cautious: hot.cautious?.reason ?? null };
}

describe.each([
  ['file', (time: ManualTime) => new FileStore(time)],
  ['sqlite', (time: ManualTime) => new SqliteStore(time)],
] as const)('a %s store whose clock starts six hours behind', (_, make) => {
  let time: ManualTime;
  let store: StoreOnDisk;
  let clock: SteadyClock;
  const start = () => {
    clock = new SteadyClock(time);
    return store.open({ clock });
  };
  const setRight = () => {
    time.stepWall(6 * HOUR);
    clock.witness(new Date(time.wall()).toUTCString());
  };
  beforeEach(async () => {
    time = new ManualTime();
    store = make(time);
    const repository = await start();
    await repository.update('a', spend);
    time.advance(HOUR);
    await repository.update('b', spend);
    await repository.close();
    time.stepWall(-6 * HOUR);
  });
  afterEach(() => store.dispose());

  it('forgets nothing when it is set right while it runs', async () => {
    const repository = await start();
    expect(await windowOf(repository, clock)).toEqual({
      used: USED,
      leftMs: 4 * HOUR,
      cautious: 'clock',
    });
    time.advance(10 * MINUTE);
    setRight();
    const left = { used: USED, leftMs: 4 * HOUR - 10 * MINUTE, cautious: 'clock' };
    expect(await windowOf(repository, clock)).toEqual(left);
    expect(clock.now()).toBe(time.wall());
  });

  it('nor when somebody looks while a decision of before is on its way to the disk', async () => {
    const repository = await start();
    await windowOf(repository, clock);
    const under = repository.update('a', increment);
    for (let turn = 0; turn < 3; turn += 1) await Promise.resolve();
    setRight();
    await repository.read('a');
    await under;
    expect(await windowOf(repository, clock)).toEqual({
      used: USED,
      leftMs: 4 * HOUR,
      cautious: 'clock',
    });
  });

  it.each([
    ['is acted on', true],
    ['is told, and nobody acts on it', false],
  ])('nor when it is set right between two starts, of which the first %s', async (_name, acts) => {
    const first = await start();
    if (acts) await windowOf(first, clock);
    await first.close();
    time.advance(10 * MINUTE);
    time.stepWall(6 * HOUR);
    const { used, leftMs, cautious } = await windowOf(await start(), clock);
    expect({ used, cautious }).toEqual({ used: USED, cautious: 'clock' });
    // Time that nobody wrote in may be time that did not pass: then it lasts longer.
    expect(leftMs).toBeGreaterThanOrEqual(4 * HOUR - 10 * MINUTE);
    expect(leftMs).toBeLessThanOrEqual(4 * HOUR);
  });

  it('and is believed like any other, once what it took back is over', async () => {
    const repository = await start();
    await windowOf(repository, clock);
    time.advance(5 * HOUR);
    await repository.update('a', spend);
    setRight();
    // Nobody knows but that six hours have passed.
    expect(await windowOf(repository, clock)).toMatchObject({ used: 0, cautious: null });
  });
});

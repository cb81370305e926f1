import { describe, expect, it } from 'vitest';
import { CalibrationStore } from '../../src/calibration/calibration-store.js';
import {
  agreeingSamples,
  highestSample,
  learnedLimit,
} from '../../src/calibration/learned-limit.js';
import {
  isComplete,
  orphanInSample,
  settleInSample,
  type RefusalContext,
} from '../../src/calibration/sample.js';
import { boundsOf } from '../../src/budget/bounds.js';
import { limitOf } from '../../src/budget/limits.js';
import { emptyScopeState, type LimitState, type Sample } from '../../src/state/scope-state.js';

const STORE = new CalibrationStore();
const NONE = emptyScopeState().cold.calibration;

function limit(used: number, overrides: Partial<LimitState> = {}): LimitState {
  const empty = limitOf({}, 'tokens');
  return { ...empty, used, window: { ...empty.window, number: 3 }, ...overrides };
}

function context(overrides: Partial<RefusalContext> = {}): RefusalContext {
  return {
    episode: 1,
    kind: 'quota',
    limit: 'tokens',
    reason: null,
    sequence: 10,
    inFlight: 1,
    measured: null,
    ...overrides,
  };
}

/** Opens a sample, lets the refused request settle at 0 from an estimate of 100, and closes it. */
function sampleOf(used: number, options: Partial<LimitState & RefusalContext> = {}, floor = 300) {
  const opened = STORE.open(context(options), limit(used, options), 0);
  const settled = settleInSample(opened, -100);
  expect(isComplete(settled, 1)).toBe(true);
  return STORE.close(NONE, settled, floor);
}

describe('one sample an episode', () => {
  it('is what the window was charged, once everything in flight has settled', () => {
    let sample = STORE.open(context({ inFlight: 3 }), limit(1000), 0);
    sample = settleInSample(sample, -100);
    sample = settleInSample(sample, 40);
    expect(isComplete(sample, 1)).toBe(false);
    sample = settleInSample(sample, -15);
    expect(isComplete(sample, 1)).toBe(true);
    const closed = STORE.close(NONE, sample, 300);
    expect(closed.sample).toMatchObject({ tokens: 925, accepted: true, reason: null });
    expect(closed.learned).toEqual({
      limit: 'tokens',
      limitTokens: 925,
      highest: 925,
      agreeing: 1,
    });
    expect(closed.calibration).toMatchObject({ accepted: 1, discarded: 0 });
  });

  it('leaves out what is orphaned', () => {
    expect(sampleOf(1000, { orphaned: 15 }).sample).toMatchObject({ tokens: 885, accepted: true });
  });

  it('waits an hour at most for a settlement that never comes', () => {
    const sample = STORE.open(context({ inFlight: 5 }), limit(1000), 0);
    expect(isComplete(sample, 3_599_999)).toBe(false);
    expect(isComplete(sample, 3_600_000)).toBe(true);
  });

  it.each([
    ['zero-tokens', 100, {}],
    ['zero-tokens', 0, {}],
    ['orphaned', 1000, { orphaned: 30 }],
    ['below-floor', 399, {}],
    ['unattributed', 1000, { limit: null, reason: 'unattributed' }],
    ['other-limit', 1000, { limit: null, reason: 'other-limit' }],
    ['other-window', 1000, { reason: 'other-window' }],
    ['rate', 1000, { kind: 'rate' }],
    ['acceleration', 1000, { kind: 'acceleration' }],
    ['state-lost', 1000, { window: { ...limit(0).window, observed: false } }],
  ] as const)('is discarded as %s', (reason, used, options) => {
    const closed = sampleOf(used, options as Partial<LimitState & RefusalContext>);
    expect(closed.sample).toMatchObject({ accepted: false, reason });
    expect(closed.learned).toBeNull();
    expect(closed.calibration).toMatchObject({ accepted: 0, discarded: 1 });
  });

  it('counts what an instance took with it as orphaned', () => {
    const opened = STORE.open(context({ inFlight: 2 }), limit(1000), 0);
    const sample = settleInSample(orphanInSample(opened, 1, 500), -100);
    expect(STORE.close(NONE, sample, 300).sample).toMatchObject({
      tokens: 400,
      reason: 'orphaned',
    });
  });

  it('waits for a second refusal where the first said nothing of its kind', () => {
    const sample = settleInSample(STORE.open(context({ kind: 'unknown' }), limit(900), 0), -100);
    expect(isComplete(sample, 1)).toBe(false);
    expect(STORE.close(NONE, sample, 300).sample).toMatchObject({ reason: 'unconfirmed' });
    const confirmed = { ...sample, confirmed: true };
    expect(isComplete(confirmed, 1)).toBe(true);
    expect(STORE.close(NONE, confirmed, 300).sample).toMatchObject({ accepted: true });
  });

  it('keeps 50, and never loses an accepted one to a flood of discarded ones', () => {
    let calibration = sampleOf(1000).calibration;
    for (let episode = 2; episode < 200; episode += 1) {
      const climb = { episode, limit: 'tokens', tokens: 5 };
      calibration = STORE.recordClimb(calibration, climb, episode);
    }
    expect(calibration.samples).toHaveLength(50);
    expect(calibration).toMatchObject({ accepted: 1, discarded: 198 });
    expect(calibration.samples[0]).toMatchObject({ accepted: true, tokens: 900 });
    expect(calibration.samples.at(-1)).toMatchObject({ reason: 'same-episode', at: 199 });
  });

  it('counts samples below the floor in a row', () => {
    let calibration = NONE;
    const add = (used: number) => {
      const opened = STORE.open(context({ inFlight: 0 }), limit(used), 0);
      calibration = STORE.close(calibration, opened, 300).calibration;
      return STORE.contradictsBudget(calibration);
    };
    expect([add(10), add(20)]).toEqual([false, false]);
    expect(add(30)).toBe(true);
    expect(add(1000)).toBe(false);
  });

  it('is taken back by the operator, and stays on record', () => {
    const { calibration } = sampleOf(1000);
    const forgotten = STORE.forget(calibration);
    expect(forgotten.samples).toMatchObject([{ accepted: false, reason: 'operator-reset' }]);
    expect(learnedLimit(forgotten.samples, 'tokens')).toBeNull();
  });
});

describe('samples that agree', () => {
  const agreeing = (learned: number, ...accepted: number[]) =>
    agreeingSamples(accepted.map(acceptedSample), 'tokens', learned);

  it('are counted from the newest back to one that does not', () => {
    expect(agreeing(1000, 1000)).toBe(1);
    expect(agreeing(1000, 600, 1090, 1000)).toBe(2);
    expect(agreeing(1000, 1000, 1000, 1101)).toBe(0);
    expect(agreeing(1000, 1000, 960, 1000)).toBe(1);
    expect(agreeing(1000)).toBe(0);
  });
});

describe('the learned limit', () => {
  const learned = (...accepted: number[]) => learnedLimit(accepted.map(acceptedSample), 'tokens');
  it('follows a fall at once and a rise only as the newest three agree', () => {
    expect(learned()).toBeNull();
    expect(learned(1000)).toBe(1000);
    expect(learned(1000, 1000, 600)).toBe(600);
    expect(learned(600, 600, 1000)).toBe(600);
    expect(learned(600, 1000, 1100)).toBe(1000);
    expect(learned(1, 1000, 1100, 1050)).toBe(1050);
  });
});

it('a sample far below what the upstream has taken since is of an earlier limit', () => {
  const samples = [1000, 1000, 1600].map(acceptedSample);
  expect(learnedLimit(samples, 'tokens')).toBe(1000);
  expect(learnedLimit(samples, 'tokens', 1550)).toBe(1600);
  expect(learnedLimit(samples, 'tokens', 1050), 'less far may be overshoot').toBe(1000);
});

it('what floor and ceiling are measured from falls with a limit that has fallen below the floor', () => {
  const highest = (...accepted: number[]) => highestSample(accepted.map(acceptedSample), 'tokens');
  expect(highest()).toBeNull();
  expect(highest(1000, 300, 300, 300), 'the floor does for it').toBe(1000);
  expect(highest(1000, 250, 260), 'may be what others use').toBe(1000);
  expect(highest(1000, 250, 260, 255)).toBe(260);
  expect(highest(1000, 250, 260, 255, 400), 'it was not that low').toBe(1000);
  expect(highest(1000, 250, 250, 250, 50, 50), 'the second fall').toBe(250);
  expect(highest(1000, 250, 250, 250, 50, 50, 50)).toBe(50);
  const budget = { ...limitOf({}, 'tokens').budget, reference: 1000 };
  const floor = boundsOf(budget).floor as number;
  const below = floor - 1;
  expect(highest(1000, floor, floor, floor), 'the floor is that of the budget').toBe(1000);
  expect(highest(1000, below, below, below)).toBe(below);
});

function acceptedSample(tokens: number): Sample {
  return { at: 0, limit: 'tokens', tokens, accepted: true, reason: null, episode: 1 };
}

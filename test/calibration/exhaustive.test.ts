import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CalibrationStore } from '../../src/calibration/calibration-store.js';
import { observe, type ObservedUsage } from '../../src/calibration/estimate.js';
import { learnedLimit } from '../../src/calibration/learned-limit.js';
import {
  emptyScopeState,
  type CalibrationState,
  type ModelEstimate,
  type PendingSample,
} from '../../src/state/scope-state.js';

/**
 * All sequences of up to six samples against the rules written down naively: what is learned is one of the
 * samples, a fall is believed at once, a rise as far as the middle of the newest three goes.
 */

const STORE = new CalibrationStore();
const NONE = emptyScopeState().cold.calibration;
const LONGEST = 6;
/** Around 1,000: agreeing from below and above, fallen, risen, and a third of it orphaned. */
const EVENTS = [980, 1_000, 1_080, 600, 1_600, 'orphaned'] as const;
type Event = (typeof EVENTS)[number];

function pending(event: Event, episode: number): PendingSample {
  const tokens = event === 'orphaned' ? 1_000 : event;
  return {
    at: episode,
    episode,
    kind: 'quota',
    limit: 'tokens',
    window: 1,
    sequence: episode,
    outstanding: 0,
    tokens,
    orphaned: event === 'orphaned' ? 500 : 0,
    from: null,
    weight: 1,
    confirmed: true,
    reason: null,
  };
}

function agrees(tokens: number, limit: number): boolean {
  return tokens >= 0.97 * limit && tokens <= 1.1 * limit;
}

/** Those at the end that agree on `limit`, without a gap. */
function runOf(samples: readonly number[], limit: number): readonly number[] {
  const run: number[] = [];
  for (const tokens of [...samples].reverse()) {
    if (!agrees(tokens, limit)) break;
    run.unshift(tokens);
  }
  return run;
}

function naive(samples: readonly number[]): { limit: number; agreeing: number } {
  const newest = samples.at(-1) as number;
  const three = samples.slice(-3).toSorted((one, other) => one - other);
  const middle = three[Math.floor((three.length - 1) / 2)] as number;
  const about = Math.min(newest, middle);
  const limit = Math.min(about, ...runOf(samples, about).slice(-5));
  return { limit, agreeing: runOf(samples, limit).length };
}

function play(events: readonly Event[]): void {
  let calibration: CalibrationState = NONE;
  const accepted: number[] = [];
  const hold = (held: boolean, claim: string) => {
    if (!held) throw new Error(`not ${claim} after ${events.join(', ')}`);
  };
  for (const [index, event] of events.entries()) {
    const closed = STORE.close(calibration, pending(event, index + 1), null);
    calibration = closed.calibration;
    if (event === 'orphaned') {
      hold(closed.learned === null && !closed.sample.accepted, 'discarded');
      continue;
    }
    accepted.push(event);
    const { limit, agreeing } = naive(accepted);
    hold(closed.learned?.limitTokens === limit, `learned ${limit}`);
    hold(closed.learned?.agreeing === agreeing, `agreed on by ${agreeing}`);
    hold(closed.learned?.highest === Math.max(...accepted), 'the highest');
  }
  hold(calibration.accepted === accepted.length, 'as many accepted');
  hold(calibration.discarded === events.length - accepted.length, 'as many discarded');
}

function* sequences(length: number): Generator<readonly Event[]> {
  if (length === 0) return yield [];
  for (const before of sequences(length - 1)) for (const event of EVENTS) yield [...before, event];
}

it(`learns as the rules say from any ${LONGEST} samples`, () => {
  // Every shorter sequence is the beginning of one of these.
  for (const events of sequences(LONGEST)) play(events);
});

describe('whatever the samples are', () => {
  const amount = fc.double({ min: 1, max: 1e15, noNaN: true });

  it('what is learned is one of them, never above the newest, and follows a fall at once', () => {
    fc.assert(
      fc.property(fc.array(amount, { minLength: 1, maxLength: 60, size: 'max' }), (amounts) => {
        const samples = amounts.map((tokens, episode) => {
          return { at: episode, limit: 'tokens', tokens, accepted: true, reason: null, episode };
        });
        const learned = learnedLimit(samples, 'tokens') ?? Number.NaN;
        expect(amounts).toContain(learned);
        expect(learned).toBeLessThanOrEqual(amounts.at(-1) as number);
        const fallen = { ...samples[0]!, tokens: 0.5 * learned };
        expect(learnedLimit([...samples, fallen], 'tokens')).toBe(0.5 * learned);
      }),
    );
  });

  it('the estimates learned of a model are numbers, at any magnitude', () => {
    const usage = fc.record({ inputTokens: amount, cachedTokens: amount, outputTokens: amount });
    fc.assert(
      fc.property(fc.array(usage, { maxLength: 30, size: 'max' }), amount, (calls, bodyBytes) => {
        let model: ModelEstimate | undefined;
        for (const call of calls as ObservedUsage[]) {
          model = observe(model, { bodyBytes, trail: null }, call, 0);
          expect(Object.values(model).every((figure) => figure >= 0 && figure < Infinity)).toBe(
            true,
          );
        }
      }),
    );
  });
});

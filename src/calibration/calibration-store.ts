import type {
  CalibrationState,
  Instant,
  LimitState,
  PendingSample,
  Sample,
} from '../state/scope-state.js';
import { agreeingSamples, highestSample, learnedLimit } from './learned-limit.js';
import { judge, openSample, type DiscardReason, type RefusalContext } from './sample.js';

/** What a closed sample taught. */
export interface Learned {
  readonly limit: string;
  /** The upstream's limit as the newest accepted samples tell it. */
  readonly limitTokens: number;
  /** The highest of the last 20 accepted samples, or of those since the limit has fallen far. */
  readonly highest: number;
  /** Accepted samples in a row, the newest included, that agree on the limit. */
  readonly agreeing: number;
}

export interface Closed {
  readonly calibration: CalibrationState;
  readonly sample: Sample;
  /** Null if the sample was discarded. */
  readonly learned: Learned | null;
}

const MOST_SAMPLES = 50;
/** Discarded samples make room first, but these many of the newest are kept to explain. */
const KEPT_DISCARDED = 20;
/** This many samples in a row below the floor contradict the operator's budget. */
const CONTRADICTIONS = 3;

/** Samples of the upstream's limits and what they teach: one sample an episode. Pure. */
export class CalibrationStore {
  /** The first refusal of an episode opens its sample. */
  open(context: RefusalContext, limit: LimitState | null, now: Instant): PendingSample {
    return openSample(context, limit, now);
  }

  /**
   * Judges the sample. `floor` is that of the operator's budget, null without one; `taken` the highest
   * charge with which the upstream took a request since the sample before.
   */
  close(
    calibration: CalibrationState,
    pending: PendingSample,
    floor: number | null,
    taken = 0,
  ): Closed {
    const reason = judge(pending, floor);
    const next = this.#keep(calibration, pending, reason);
    const sample = next.samples.at(-1) as Sample;
    if (reason !== null || pending.limit === null) {
      return { calibration: next, sample, learned: null };
    }
    const limitTokens = learnedLimit(next.samples, pending.limit, taken) ?? pending.tokens;
    const highest = highestSample(next.samples, pending.limit) ?? pending.tokens;
    const agreeing = agreeingSamples(next.samples, pending.limit, limitTokens);
    const learned = { limit: pending.limit, limitTokens, highest, agreeing };
    return { calibration: next, sample, learned };
  }

  /** A later refusal of the same episode: on record, but it teaches nothing new. */
  recordClimb(
    calibration: CalibrationState,
    climb: { readonly episode: number; readonly limit: string | null; readonly tokens: number },
    now: Instant,
  ): CalibrationState {
    return this.#keep(calibration, { ...climb, at: now }, 'same-episode');
  }

  /** The operator takes back what was learned, of one limit or all; the samples stay on record, discarded. */
  forget(calibration: CalibrationState, limit: string | null = null): CalibrationState {
    const reason: DiscardReason = 'operator-reset';
    return {
      ...calibration,
      belowFloorInARow: 0,
      samples: calibration.samples.map((sample) =>
        sample.accepted && (limit === null || sample.limit === limit)
          ? { ...sample, accepted: false, reason }
          : sample,
      ),
    };
  }

  /** The upstream refuses below the floor of the operator's budget, again and again. */
  contradictsBudget({ belowFloorInARow }: Pick<CalibrationState, 'belowFloorInARow'>): boolean {
    return belowFloorInARow >= CONTRADICTIONS;
  }

  /** The operator has heard it: a lower floor is contradicted by what comes, if at all. */
  answer(calibration: CalibrationState): CalibrationState {
    return calibration.belowFloorInARow === 0
      ? calibration
      : { ...calibration, belowFloorInARow: 0 };
  }

  #keep(
    calibration: CalibrationState,
    source: Pick<PendingSample, 'at' | 'episode' | 'limit' | 'tokens'>,
    reason: DiscardReason | null,
  ): CalibrationState {
    const accepted = reason === null;
    const { at, episode, limit, tokens } = source;
    const sample: Sample = { at, limit, tokens, accepted, reason, episode };
    return {
      ...calibration,
      accepted: calibration.accepted + (accepted ? 1 : 0),
      discarded: calibration.discarded + (accepted ? 0 : 1),
      samples: bounded([...calibration.samples, sample]),
      belowFloorInARow: inARow(calibration.belowFloorInARow, reason),
    };
  }
}

/** An accepted sample ends the row; other reasons say nothing about the floor. */
function inARow(before: number, reason: DiscardReason | null): number {
  if (reason === 'below-floor') return before + 1;
  return reason === null ? 0 : before;
}

/** Drops the oldest: discarded ones first, so that noise can't push out what was learned. */
function bounded(samples: readonly Sample[]): readonly Sample[] {
  if (samples.length <= MOST_SAMPLES) return samples;
  const discarded = samples.filter((sample) => !sample.accepted);
  const drop = discarded.length > KEPT_DISCARDED ? discarded[0] : samples[0];
  return samples.filter((sample) => sample !== drop);
}

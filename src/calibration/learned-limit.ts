import type { Sample } from '../state/scope-state.js';

/** Learn mode measures floor and ceiling from the highest of this many. */
const REMEMBERED = 20;
/** How many samples vote on a limit that seems to have risen, or to have fallen far. */
const VOTERS = 3;
/** The floor of a budget, as a part of what it is measured from: FLOOR of budget/bounds.ts once more. */
const FALLEN = 0.3;
/** Of so many that agree the lowest counts. */
const LOWEST_OF = 5;
/** A sample below this part of what the upstream has taken since is of an earlier limit. */
const CONTRADICTED = 0.9;

/**
 * The upstream's limit for `limit` as its accepted samples tell it, newest last; null without any.
 * A newest sample below the others is believed at once, for the limit may have fallen and every
 * further try costs a 429. One above them counts only as far as the median of the newest three, among
 * them none that lies far below `taken`, the highest charge with which the upstream took a request since
 * the sample before: the limit has risen since.
 */
export function learnedLimit(samples: readonly Sample[], limit: string, taken = 0): number | null {
  const accepted = acceptedOf(samples, limit).filter((tokens) => tokens >= CONTRADICTED * taken);
  const newest = accepted.at(-1);
  if (newest === undefined) return null;
  const about = Math.min(newest, median(accepted.slice(-VOTERS)));
  // They err upward, by the request that went over: the lowest of those that agree is the nearest.
  return Math.min(about, ...runOf(accepted, about).slice(-LOWEST_OF));
}

/**
 * What learn mode measures floor and ceiling from: the highest of the last samples. Where the newest three all lie
 * below the floor that follows from it, the limit has fallen so far, and it is the highest of those: else that
 * floor would hold the budget above the limit for good.
 */
export function highestSample(samples: readonly Sample[], limit: string): number | null {
  const accepted = acceptedOf(samples, limit).slice(-REMEMBERED);
  return accepted.length === 0 ? null : highestOf(accepted);
}

function highestOf(accepted: readonly number[]): number {
  const highest = Math.max(...accepted);
  const last = accepted.findLastIndex((tokens) => tokens >= FALLEN * highest);
  const since = accepted.slice(last + 1);
  return since.length < VOTERS ? highest : highestOf(since);
}

/**
 * A sample agrees with the learned limit within these: it is too high by what was in flight at the
 * refusal and by the request that went over, and too low only where others took a share.
 */
const AGREES_FROM = 0.97;
const AGREES_TO = 1.1;

/** How many accepted samples in a row, the newest included, agree that the limit is `learned`. */
export function agreeingSamples(
  samples: readonly Sample[],
  limit: string,
  learned: number,
): number {
  return runOf(acceptedOf(samples, limit), learned).length;
}

function runOf(accepted: readonly number[], learned: number): readonly number[] {
  const strange = accepted.findLastIndex(
    (tokens) => tokens < AGREES_FROM * learned || tokens > AGREES_TO * learned,
  );
  return accepted.slice(strange + 1);
}

function acceptedOf(samples: readonly Sample[], limit: string): number[] {
  return samples
    .filter((sample) => sample.accepted && sample.limit === limit)
    .map((sample) => sample.tokens);
}

/** Of an even number, the lower middle. */
function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? 0;
}

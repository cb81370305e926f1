import type { Sample } from '../state/scope-state.js';

/** Learn mode measures floor and ceiling from the highest of this many. */
const REMEMBERED = 20;
/** How many samples vote on a limit that seems to have risen. */
const VOTERS = 3;

/**
 * The upstream's limit for `limit` as its accepted samples tell it, newest last; null without any.
 * A newest sample below the others is believed at once, for the limit may have fallen and every
 * further try costs a 429. One above them counts only as far as the median of the newest three.
 */
export function learnedLimit(samples: readonly Sample[], limit: string): number | null {
  const accepted = acceptedOf(samples, limit);
  const newest = accepted.at(-1);
  if (newest === undefined) return null;
  return Math.min(newest, median(accepted.slice(-VOTERS)));
}

export function highestSample(samples: readonly Sample[], limit: string): number | null {
  const accepted = acceptedOf(samples, limit).slice(-REMEMBERED);
  return accepted.length === 0 ? null : Math.max(...accepted);
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

import type { LimitState } from '../state/scope-state.js';
import type { LimitRules } from './settings.js';

/** No more than this share of a limit is kept free for what requests in flight may turn out to cost. */
const MOST_RESERVED = 0.1;

/**
 * Whether the upstream may have reached the limit already, for all we know: it charges a request's input
 * when it arrives, and we learn it with the answer. One large request that finds its cache cold goes over
 * the limit, and whatever follows it within that second is refused. `guesses` in flight are charged by
 * their estimates; `excess` is what one of them may cost beyond that, and of several that know nothing of
 * one another together it grows with the root of their number.
 */
export function mayBeFull(
  { used, bucket, budget }: LimitState,
  { unit }: LimitRules,
  guesses: number,
  excess: number,
): boolean {
  const { learned } = budget;
  // A budget below the limit keeps the upstream's bucket all but empty, however full our own is.
  if (guesses === 0 || learned === null || bucket !== null) return false;
  if (unit !== 'tokens' && unit !== 'input_tokens') return false;
  const reserve = Math.min(excess * Math.sqrt(guesses), MOST_RESERVED * learned);
  return used + reserve >= learned;
}

import type { LimitState } from '../state/scope-state.js';
import type { LimitRules } from './settings.js';
import { currentFraction } from './stated-fraction.js';

/** No more than this share of a limit is kept free for what requests in flight may turn out to cost. */
const MOST_RESERVED = 0.1;

/** What requests in flight whose input is not known yet may cost beyond their estimates, in tokens. */
export interface Doubt {
  readonly guessed: number;
  /** Of those that come after a pause, should their prompt caches have gone cold. */
  readonly coldTokens: number;
  /** Of any one of them, whatever the reason. */
  readonly excess: number;
}

/**
 * Whether the upstream may have reached the limit already, for all we know: it charges a request's input
 * when it arrives, and we learn it with the answer. One large request that finds its cache cold goes over
 * the limit, and whatever follows it within that second is refused. The excess of several that know nothing
 * of one another grows with the root of their number; caches go cold together, when a window ends that
 * all have waited for.
 */
export function mayBeFull(
  limit: LimitState,
  { unit }: LimitRules,
  { guessed, coldTokens, excess }: Doubt,
): boolean {
  const known = knownLimit(limit);
  // A budget below the limit keeps the upstream's bucket all but empty, however full our own is.
  if (guessed === 0 || known === null || limit.bucket !== null) return false;
  if (unit !== 'tokens' && unit !== 'input_tokens') return false;
  const reserve = Math.min(coldTokens + excess * Math.sqrt(guessed), MOST_RESERVED * known);
  return limit.used + reserve >= known;
}

/** Where the upstream refuses, as far as it has told, by its refusals or in so many words; the lower of both. */
function knownLimit(state: LimitState): number | null {
  const { learned } = state.budget;
  const { stated } = state;
  const told = stated?.fraction == null ? stated?.limit : currentFraction(state)?.budget;
  return learned === null || told == null ? (learned ?? told ?? null) : Math.min(learned, told);
}

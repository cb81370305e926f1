import type { LimitState, StatedLimit } from '../state/scope-state.js';
import { currentFraction, settleFraction, WHOLE } from './stated-fraction.js';

/** What the upstream's statements make of a budget; how they are taken is in `stated-limit.ts`. */

/** The budget ends this far below a stated limit: estimates of what is in flight err. */
const RESERVE = 0.002;
/**
 * And this part of what others have spent further below, for they go on between two statements; but no more
 * than this part of the limit, for they may also have stopped long ago.
 */
const OTHERS_RESERVE = 0.2;
const MOST_RESERVE = 0.02;
/** Up to here a stated fraction leaves room for a request, whatever that costs. */
const ROOMY = 0.95;
/** Samples above this part of a stated limit teach nothing that it doesn't say. */
const CONTRADICTED = 0.9;

/** The budget that the upstream's statements call for; null while they call for none. */
export function statedBudget(state: LimitState): number | null {
  const { stated, others } = state;
  const fraction = currentFraction(state);
  if (fraction !== null) return fraction.budget;
  const limit = stated?.limit ?? null;
  if (limit === null) return null;
  const forOthers = Math.min(OTHERS_RESERVE * others, MOST_RESERVE * limit);
  return Math.max(1, limit - Math.ceil(RESERVE * limit + forOthers));
}

/**
 * Whether the upstream's fraction leaves open until when nothing passes: the budget is inferred from one that leaves
 * room, or all is used up and nothing was said of when that ends.
 */
export function leavesOpen(state: LimitState): boolean {
  const fraction = currentFraction(state);
  return fraction !== null && (fraction.used < WHOLE || !state.window.stated);
}

/**
 * Whether the upstream itself says that there is room, whatever was inferred from the fraction: with this much of a
 * window left, one more request does not reach its end.
 */
export function saysRoom(state: LimitState): boolean {
  const fraction = currentFraction(state);
  return fraction !== null && fraction.used <= ROOMY;
}

/** What is remembered of the statements when a window ends in which they were made, or were not. */
export function keepStated({ stated, window }: LimitState): StatedLimit | null {
  // Where the upstream no longer states it, learning fills the gap.
  if (stated === null || stated.window !== window.number) return null;
  return stated.fraction === null ? stated : settleFraction(stated, stated.fraction);
}

/** Whether a limit learned from refusals says nothing that the upstream's own statements don't. */
export function isStatedAnyway({ stated }: LimitState, learned: number): boolean {
  return stated !== null && stated.limit !== null && learned >= CONTRADICTED * stated.limit;
}

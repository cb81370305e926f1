import type { LimitState, StatedFraction, StatedLimit } from '../state/scope-state.js';

/**
 * A subscription states what fraction of a window is used, in whole per cents, and never of how much. What a
 * per cent costs is learned from what we spent while it rose; the budget is what we had charged when the
 * last one was reached, and as many tokens as the rest of them cost. So an error in that cost weighs less
 * and less as the window fills, and others' use counts the moment it shows.
 */

/** A stated fraction has two decimals. */
const ERROR = 0.005;
/** One step of it, and a little for the arithmetic of fractions. */
const ONE_STEP = 0.0101;
/** From here on a stated fraction may be the whole. */
export const WHOLE = 1 - ERROR;
/** Fractions above this are no fractions: 1.05 has been seen. */
const ABSURD = 2;
/** A rise by less than this says little about what a per cent costs. */
const TELLING_RISE = 0.095;
/** A window has to rise by this much to take back what earlier ones said. */
const SURE_RISE = 0.5;
/** One window leaves at least this much of a known limit. */
const MOST_FALL = 0.5;
/** One statement raises a known limit to this many times itself at most. */
const MOST_GROWTH = 2;
/** This much of a budget is used where it is in the way. */
const IN_THE_WAY = 0.9;

interface Stated {
  readonly name: string;
  readonly utilization: number | null;
  readonly rejected: boolean;
}

/** The fraction that was stated in the present window. */
export function currentFraction({ stated, window }: LimitState): StatedFraction | null {
  return stated?.window === window.number ? stated.fraction : null;
}

export interface FractionContext {
  readonly sequence: number;
  /** No older than what was stated last in this window. */
  readonly newest: boolean;
  /** What of ours the upstream has counted for certain. */
  readonly charged: number;
}

/** What is known of the limit with this fraction; the same reference if that is nothing new. */
export function takeFraction(
  limit: LimitState,
  statement: Stated,
  { sequence, newest, charged }: FractionContext,
): StatedLimit | null {
  const { stated, window, used, orphaned } = limit;
  const fraction = fractionOf(statement);
  if (fraction === null) return stated;
  const known = stated?.limit ?? null;
  const before = currentFraction(limit);
  // In this window an older answer may only make it tighter.
  if (before !== null && !newest && fraction <= before.used) return stated;
  const isNews = before === null || fraction !== before.used;
  const spent = Math.max(0, charged - orphaned);
  const { from, fromCharged, fromCounted } = before ?? {
    from: fraction,
    fromCharged: used,
    fromCounted: spent,
  };
  const least = costOfRise({ from, fromCharged }, fraction, spent);
  const inTheWay = newest && charged >= IN_THE_WAY * (before?.budget ?? Number.POSITIVE_INFINITY);
  const isTelling = isNews && fraction - from >= TELLING_RISE;
  const whole = isTelling ? largest(known, least) : refuted(known, least, inTheWay);
  if (!isNews && whole === known) return stated;
  const isOneStep = before !== null && Math.abs(fraction - before.used) <= ONE_STEP;
  const rest = Math.max(0, 1 - fraction - (isOneStep ? 0 : ERROR));
  const usedCharged = isNews ? charged : before.usedCharged;
  const inferred = whole === null ? null : Math.floor(usedCharged + rest * whole);
  const budget = fraction >= WHOLE ? usedCharged : inferred;
  const latest = Math.max(sequence, before === null ? 0 : (stated?.sequence ?? 0));
  return {
    name: statement.name,
    limit: whole,
    window: window.number,
    sequence: latest,
    fraction: { from, fromCharged, fromCounted, used: fraction, usedCharged, budget },
  };
}

function fractionOf(statement: Stated): number | null {
  const { utilization, rejected } = statement;
  const sensible = utilization !== null && utilization >= 0 && utilization <= ABSURD;
  if (rejected) return Math.max(1, sensible ? utilization : 1);
  return sensible ? utilization : null;
}

/**
 * What the whole costs at least, by what we spent while the fraction rose: too little where others spent as
 * well, or much of ours was in flight.
 */
function costOfRise(
  { from, fromCharged }: Pick<StatedFraction, 'from' | 'fromCharged'>,
  to: number,
  spent: number,
): number | null {
  if (spent <= fromCharged || to < from) return null;
  const most = to + ERROR - Math.max(0, from - ERROR);
  return Math.max(1, Math.floor((spent - fromCharged) / most));
}

/**
 * A limit known too low would never be seen to be: so little may be spent that the fraction does not rise by a
 * telling amount. Where that is in the way, what was spent without a rise counts, a step at a time: an answer
 * may be taken up a moment after it was given, and others have been charged meanwhile.
 */
function refuted(known: number | null, least: number | null, inTheWay: boolean): number | null {
  if (known === null || least === null || !inTheWay) return known;
  return Math.max(known, Math.min(least, MOST_GROWTH * Math.max(1, known)));
}

function largest(a: number | null, b: number | null): number | null {
  return a === null || b === null ? (a ?? b) : Math.max(a, b);
}

/**
 * What is remembered for the next window: with a window that rose far, a limit that fell is noticed. It may also
 * have been others who spent, so it falls by no more than half.
 */
export function settleFraction(stated: StatedLimit, fraction: StatedFraction): StatedLimit {
  const { from, fromCounted, used, usedCharged } = fraction;
  const rise = used - from - 2 * ERROR;
  if (stated.limit === null || rise < SURE_RISE) return stated;
  const most = Math.ceil(Math.max(usedCharged - fromCounted, 0) / rise);
  const limit = Math.max(most, Math.ceil(MOST_FALL * stated.limit));
  return limit < stated.limit ? { ...stated, limit } : stated;
}

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
const FULL = 1 - ERROR;
/** Fractions above this are no fractions: 1.05 has been seen. */
const ABSURD = 2;
/** A rise by less than this says little about what a per cent costs. */
const TELLING_RISE = 0.095;
/** A window has to rise by this much to take back what earlier ones said. */
const SURE_RISE = 0.5;

interface Stated {
  readonly name: string;
  readonly utilization: number | null;
  readonly rejected: boolean;
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
  { stated, window, used }: LimitState,
  statement: Stated,
  { sequence, newest, charged }: FractionContext,
): StatedLimit | null {
  const fraction = fractionOf(statement);
  if (fraction === null) return stated;
  const known = stated?.limit ?? null;
  const before = stated?.window === window.number ? stated.fraction : null;
  // In this window an older answer may only make it tighter; a fraction stated before is no news.
  if (before !== null && (fraction === before.used || (!newest && fraction < before.used))) {
    return stated;
  }
  const from = before?.from ?? fraction;
  const fromCharged = before?.fromCharged ?? used;
  const limit = largest(known, costOfRise(from, fromCharged, fraction, charged));
  const isOneStep = before !== null && Math.abs(fraction - before.used) <= ONE_STEP;
  const rest = Math.max(0, 1 - fraction - (isOneStep ? 0 : ERROR));
  const budget =
    fraction >= FULL ? charged : limit === null ? null : Math.floor(charged + rest * limit);
  const next: StatedFraction = { from, fromCharged, used: fraction, usedCharged: charged, budget };
  const latest = Math.max(sequence, before === null ? 0 : (stated?.sequence ?? 0));
  const { name } = statement;
  return { name, limit, window: window.number, sequence: latest, fraction: next };
}

function fractionOf(statement: Stated): number | null {
  const { utilization, rejected } = statement;
  const sensible = utilization !== null && utilization >= 0 && utilization <= ABSURD;
  if (rejected) return Math.max(1, sensible ? utilization : 1);
  return sensible ? utilization : null;
}

/**
 * What the whole costs by what we spent while the fraction rose: too little where others spent as well,
 * or much of ours was in flight, so the largest of such figures counts.
 */
function costOfRise(from: number, fromCharged: number, to: number, charged: number): number | null {
  if (to - from < TELLING_RISE || charged <= fromCharged) return null;
  const most = to + ERROR - Math.max(0, from - ERROR);
  return Math.floor((charged - fromCharged) / most);
}

function largest(a: number | null, b: number | null): number | null {
  return a === null || b === null ? (a ?? b) : Math.max(a, b);
}

/** What is remembered for the next window: with a window that rose far, a limit that fell is noticed. */
export function settleFraction(stated: StatedLimit, fraction: StatedFraction): StatedLimit {
  const { from, fromCharged, used, usedCharged } = fraction;
  const rise = used - from - 2 * ERROR;
  if (stated.limit === null || rise < SURE_RISE) return stated;
  const most = Math.ceil(Math.max(1, usedCharged - fromCharged) / rise);
  return most < stated.limit ? { ...stated, limit: most } : stated;
}

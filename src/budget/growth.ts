import type { Instant, LimitState } from '../state/scope-state.js';
import { belowLimit } from './bounds.js';
import { isFull } from './full.js';
import { isExhausted } from './limits.js';
import type { LimitRules } from './settings.js';

/**
 * How a budget grows around a limit that was learned (the shape of CUBIC, RFC 9438 §4.2):
 *
 *   far below ── full steps ──► near: a plateau, then one full step, late in a window ──►
 *   beyond, and taken by the upstream ── full steps again, for the limit has risen
 *
 * Each try of the edge costs a 429 where the limit still stands. What the tries cost is bounded by how
 * rarely they are made (the plateau) and how little of a window is left then (late).
 */

/** A budget this far beyond the learned limit, and not refused, shows that the limit has risen. */
const BEYOND = 1.01;
/** Samples in a row that agree, from which on a limit is known well enough to be tried by whole steps. */
const SURE = 1;
/** Windows from a refusal to the next try: of a limit that one sample tells of, two, or more. */
const PLATEAU_WINDOWS = [4, 9, 11] as const;
/** A window that is shorter counts as this long: what the tries cost is 429s in a time, not in a window. */
export const SHORTEST_REST_MS = 5_400_000;
/** Part of the window, at its end, in which a limit known for sure is tried. */
const LATE = 0.2;

/** Less than this fraction of a full step is not worth a write. */
const FLATTEST = 0.1;
/** Distance below the budget that the limit calls for at which steps are full. */
const REACH_BELOW = 0.1;
/** Distance beyond the limit at which they are full again. */
const REACH_BEYOND = 0.03;

/** Whether the budget stays where it is, for the limit is near and was tried not long ago. */
export function isOnPlateau(limit: LimitState, rule: LimitRules, now: Instant): boolean {
  const { kind, windowMs } = rule;
  const { budget, bucket, control, window } = limit;
  const { current, learned } = budget;
  const { agreeing, refusedAt } = control;
  if (current === null || learned === null || refusedAt === null) return false;
  if (current < belowLimit(learned, agreeing) || current > BEYOND * learned) return false;
  const windows = PLATEAU_WINDOWS[Math.min(agreeing, PLATEAU_WINDOWS.length) - 1] ?? 1;
  if (now - refusedAt < windows * Math.max(windowMs, SHORTEST_REST_MS)) return true;
  // A sliding window has no end to be late in.
  const lateFrom =
    kind === 'fixed' && window.endsAt !== null ? window.endsAt - LATE * windowMs : now;
  if (now < lateFrom) return true;
  if (agreeing < SURE) return false;
  // A try finds out only if somebody waits for room, and the raise makes some.
  const wanted =
    bucket === null
      ? isExhausted(limit, false)
      : // It has room again in a moment, whoever waits.
        control.inTheWay && isFull(limit, rule, now);
  return !wanted || limit.used >= BEYOND * current;
}

/**
 * The budget for the next window. Of what was tried beyond a limit known for sure, only what the upstream
 * took counts: else the next window would meet the edge early, and for the rest of it.
 */
export function provenBudget({ budget, control }: LimitState): number | null {
  const { current, learned } = budget;
  if (current === null || learned === null || control.agreeing < SURE) return current;
  const target = belowLimit(learned, control.agreeing);
  return current <= target
    ? current
    : Math.max(target, Math.min(current, Math.floor(control.accepted)));
}

/**
 * Fraction of a full step. A limit that one sample tells of is approached with care; one known for sure
 * is tried with a whole step, which finds out at once, and late in a window.
 */
export function growthShape(current: number, learned: number | null, agreeing = 0): number {
  if (learned === null || agreeing >= SURE) return 1;
  const target = belowLimit(learned, agreeing);
  const below = Math.max(0, target - current) / (REACH_BELOW * target);
  const beyond = Math.max(0, current - learned) / (REACH_BEYOND * learned);
  return Math.min(1, Math.max(FLATTEST, below ** 2, beyond ** 2));
}

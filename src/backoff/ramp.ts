import type { CooldownKind, Instant, RampState } from '../state/scope-state.js';

/**
 * Upstreams refuse a sharp rise of use as such (wire facts §1.3, acceleration limits). So after a cooldown,
 * a start or idle time no more than a few requests are in flight at once, and twice as many with each
 * round of answers. An upstream that takes its time with an answer is given twice as many after five
 * seconds all the same: half a minute after it began, no ramp holds anybody back.
 */

/** A dozen agents on one machine never meet it. */
const FIRST = 16;
/** After a refusal of acceleration, which says that it was too much. */
const FIRST_AFTER_ACCELERATION = 4;
/** From here on it binds nobody any more. */
const OVER = 1_024;
const LONGEST_ROUND_MS = 5_000;
/** With nothing admitted for this long the upstream may have forgotten us. */
const IDLE_MS = 300_000;

/** `inFlight` now: a ramp never takes back what the upstream has already taken. */
export function beginRamp(inFlight: number, after: CooldownKind | null, now: Instant): RampState {
  const first = after === 'acceleration' ? FIRST_AFTER_ACCELERATION : FIRST;
  return { allowance: inFlight + first, at: now };
}

/**
 * After a start or idle time a ramp that holds already goes on. `lost` requests in flight died with the process before:
 * they keep their places until the next round, for no crash may let more through than no crash would have.
 */
export function restartRamp(
  ramp: RampState | null,
  lost: number,
  inFlight: number,
  now: Instant,
): RampState {
  const begun = beginRamp(inFlight, null, now);
  if (ramp === null) return begun;
  const left = allowanceAt(ramp, now) - lost;
  if (left >= begun.allowance) return begun;
  const roundBegan = now - (Math.max(0, now - ramp.at) % LONGEST_ROUND_MS);
  return { allowance: Math.max(0, left), at: roundBegan };
}

export function isIdle(inFlight: number, admittedAt: Instant | null, now: Instant): boolean {
  return inFlight === 0 && admittedAt !== null && now - admittedAt >= IDLE_MS;
}

/** How many requests may be in flight now; where it was none, one with the next round. */
export function allowanceAt({ allowance, at }: RampState, now: Instant): number {
  const rounds = Math.floor(Math.max(0, now - at) / LONGEST_ROUND_MS);
  if (rounds > Math.log2(OVER)) return Infinity;
  return Math.floor(Math.max(allowance, 0.5) * 2 ** rounds);
}

/**
 * A request succeeded: the first of those admitted since the last raise makes it twice as many. Null: the
 * ramp is over.
 */
export function climbRamp(ramp: RampState, admittedAt: Instant, now: Instant): RampState | null {
  const allowance = allowanceAt(ramp, now);
  if (allowance >= OVER) return null;
  return admittedAt < ramp.at ? ramp : { allowance: Math.max(1, 2 * allowance), at: now };
}

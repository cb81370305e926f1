import type { CooldownKind } from '../state/scope-state.js';

/** What an upstream's 429 says of itself, as a dialect read it. */
export interface RefusalFacts {
  readonly kind: 'quota' | 'acceleration' | 'terminal' | 'transient' | 'unknown';
  /** The wait it asks for, in ms from now, >= 0; null if it states none. */
  readonly statedWaitMs: number | null;
}

/** A stated wait below this may speak of a per-minute limit. */
const SHORT_WAIT_MS = 120_000;
/** A short wait says nothing about a window more than this many times its length. */
const SHORT_WAIT_REACH = 10;

/** Whether a statement about `waitMs` from now can be about a window of `windowMs` at all. */
export function speaksOfWindow(waitMs: number, windowMs: number): boolean {
  return waitMs >= SHORT_WAIT_MS || windowMs <= SHORT_WAIT_REACH * waitMs;
}

/** Tells the refusal of a per-minute rate from that of the window itself. `windowMs` of the limit to blame. */
export function cooldownKind(facts: RefusalFacts, windowMs: number): CooldownKind {
  if (facts.kind !== 'quota' || facts.statedWaitMs === null) return facts.kind;
  return speaksOfWindow(facts.statedWaitMs, windowMs) ? 'quota' : 'rate';
}

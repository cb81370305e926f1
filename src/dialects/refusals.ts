/** What the dialects' readings of refusals are made of. */
import type { LimitName, LimitSignal, Refusal } from './dialect.js';
import { untilInstant } from './retry-after.js';

const MAX_TEXT = 2000;

export function refusal(
  kind: Refusal['kind'],
  statedWaitMs: number | null,
  limits: readonly LimitName[] = [],
): Refusal {
  return { kind, statedWaitMs, limits };
}

export function nameOf({ name, windowMs }: LimitSignal): LimitName {
  return { name, windowMs };
}

/**
 * Until the latest reset, in ms: an earlier retry would meet another of these limits. Null if none
 * states one that is to come.
 */
export function untilLatestReset(signals: readonly LimitSignal[], now: number): number | null {
  let latest: number | null = null;
  for (const { resetAt } of signals) {
    if (resetAt !== null) latest = Math.max(latest ?? resetAt, resetAt);
  }
  return untilInstant(latest, now);
}

/** A text out of a parsed error, as far as anything is told by it; empty for anything else. */
export function errorText(value: unknown): string {
  return typeof value === 'string' ? value.slice(0, MAX_TEXT) : '';
}

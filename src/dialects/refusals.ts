/** What the dialects' readings of refusals are made of. */
import type { LimitName, LimitSignal, Refusal } from './dialect.js';
import { untilInstant } from './retry-after.js';

const MAX_TEXT = 2000;

/** By the name that headers and messages have for it. */
export const PERIOD_MS: Readonly<Record<string, number>> = {
  second: 1000,
  minute: 60_000,
  hour: 3_600_000,
  day: 86_400_000,
};
/** "… of 20,000 input tokens per minute", "… tokens per min (TPM): Limit …", "… requests per day (RPD)". */
const LIMIT_IN_MESSAGE =
  /\b(?<what>input[ -]tokens|output[ -]tokens|tokens|requests) per (?<period>second|min(?:ute)?|hour|day)\b/g;

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

/** The limits that a message speaks of, for where no header tells them. */
export function limitsIn(message: string): readonly LimitName[] {
  const limits = new Map<string, LimitName>();
  for (const { groups } of message.matchAll(LIMIT_IN_MESSAGE)) {
    const name = (groups?.['what'] ?? '').replace(/[ -]/, '_');
    const period = groups?.['period'] === 'min' ? 'minute' : (groups?.['period'] ?? '');
    limits.set(name, { name, windowMs: PERIOD_MS[period] ?? null });
  }
  return [...limits.values()];
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

/** How long an upstream asks to be left alone, in all the forms that providers use. */
import type { HeaderFields } from './dialect.js';
import { parseHttpDate, parseRfc3339 } from './instants.js';
import { member, parseUnlisted } from './json.js';

/**
 * A longer wait is no statement but a mistake (an epoch, an overflow) and is ignored: believing it
 * would close the scope for good. No provider's quota period is longer than a month.
 */
export const MAX_WAIT_MS = 366 * 86_400_000;

const UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3, // U+00B5, the micro sign.
  μs: 1e-3, // U+03BC, the Greek letter: Go reads both.
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/**
 * The wait stated by `retry-after-ms`, else by `retry-after` (wire facts §4.1 for the order), in ms
 * from now, >= 0 and <= MAX_WAIT_MS. Null if neither states one that makes sense: negative,
 * malformed, too long, or a date already past.
 */
export function readRetryAfter(headers: HeaderFields, now: number): number | null {
  return (
    parseWaitNumber(headers.get('retry-after-ms'), 1) ??
    parseRetryAfter(headers.get('retry-after'), now, headers.get('date'))
  );
}

/**
 * `retry-after`: seconds or an HTTP-date (RFC 9110 §10.2.3), and beyond the RFC what providers send
 * all the same: a fraction of seconds, a Go duration, an RFC 3339 instant.
 * `date` is the answer's own: an instant is of the upstream's clock, so the wait is measured by that one.
 */
export function parseRetryAfter(
  text: string | undefined,
  now: number,
  date?: string,
): number | null {
  if (text === undefined) return null;
  const value = text.trim();
  const stated = parseWaitNumber(value, 1000) ?? parseGoDuration(value);
  if (stated !== null) return stated;
  const instant = parseHttpDate(value, now) ?? parseRfc3339(value);
  const theirs = parseHttpDate(date?.trim() ?? '', now);
  return untilInstant(instant, theirs ?? now) ?? untilInstant(instant, now);
}

/**
 * From now until `instant`, in ms; null if that is no wait: the instant is unknown, past or too
 * far.
 */
export function untilInstant(instant: number | null, now: number): number | null {
  // A date that is past may come from a clock behind ours. "Wait 0" would be read out of it, and
  // unknown is never zero.
  return instant === null || instant <= now ? null : wait(instant - now);
}

/**
 * Go's duration text, `1h2m3s`, `6m0s`, `7.66s`, `976ms` (wire facts §3.1), in ms; null if
 * malformed.
 */
export function parseGoDuration(text: string): number | null {
  const part = /(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)/y;
  let totalMs = 0;
  do {
    const match = part.exec(text);
    if (match === null) return null;
    totalMs += Number(match[1]) * (UNIT_MS[match[2] ?? ''] ?? NaN);
  } while (part.lastIndex < text.length);
  return wait(totalMs);
}

/**
 * The wait that a `google.rpc.RetryInfo` in a JSON error body states: `"36s"`, with up to nine
 * decimals (wire facts §3.2). In ms; null without one.
 */
export function readRetryInfo(body: string): number | null {
  const details = member(member(parseUnlisted(body), 'error'), 'details');
  for (const detail of Array.isArray(details) ? details.slice(0, 32) : []) {
    const type = member(detail, '@type');
    if (typeof type !== 'string' || !type.endsWith('google.rpc.RetryInfo')) continue;
    const delay = member(detail, 'retryDelay');
    const seconds = typeof delay === 'string' ? /^(\d+(?:\.\d{1,9})?)s$/.exec(delay)?.[1] : null;
    const waitMs = parseWaitNumber(seconds ?? undefined, 1000);
    if (waitMs !== null) return waitMs;
  }
  return null;
}

/**
 * A plain number of `unitMs`. Where a gateway on the way added a line of its own, there are
 * several: the longest wait satisfies them all.
 */
function parseWaitNumber(text: string | undefined, unitMs: number): number | null {
  if (text === undefined) return null;
  let longest: number | null = null;
  for (const part of text.split(',')) {
    const number = part.trim();
    if (!/^\d+(?:\.\d+)?$/.test(number)) return null;
    const waitMs = wait(Number(number) * unitMs);
    if (waitMs === null) return null;
    longest = Math.max(longest ?? 0, waitMs);
  }
  return longest;
}

function wait(waitMs: number): number | null {
  return waitMs >= 0 && waitMs <= MAX_WAIT_MS ? waitMs : null;
}

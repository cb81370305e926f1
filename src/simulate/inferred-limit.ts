import type { WindowKind } from '../budget/settings.js';
import type { LoggedAttempt } from './access-lines.js';
import { bucketBound, type Counted } from './bucket-bound.js';

/** What a log tells of the upstream's limit. */
export interface InferredLimit {
  /** Null: nothing was refused for it. */
  readonly limit: number | null;
  /** What had been charged in the window at each refusal that began a cooldown. */
  readonly samples: readonly LimitSample[];
  /** The highest charge at which the upstream still took a request. */
  readonly taken: number;
  /** Refusals that say nothing of this limit: of a rate, transient, or with nothing charged before. */
  readonly unexplained: number;
}

export interface LimitSample {
  readonly at: number;
  readonly requestId: string;
  readonly tokens: number;
}

/** A stated wait below this speaks of a window no more than ten times as long (backoff/refusal.ts). */
const SHORT_WAIT_MS = 120_000;
const SHORT_WAIT_REACH = 10;

/**
 * Walks through the log with the upstream's window beside it. A fixed one opens with the first request
 * that is taken after the last one ended; a refusal that states its wait tells when it ends.
 */
export function inferLimit(
  attempts: readonly LoggedAttempt[],
  { kind, windowMs }: { readonly kind: WindowKind; readonly windowMs: number },
): InferredLimit {
  const inOrder = [...attempts].sort((one, other) => one.at - other.at);
  return kind === 'bucket' ? inferBucket(inOrder, windowMs) : inferWindow(inOrder, kind, windowMs);
}

/** A bucket has no charge that tells its limit by itself: each refusal tells what it grants at least. */
function inferBucket(inOrder: readonly LoggedAttempt[], windowMs: number): InferredLimit {
  const counted: Counted[] = [];
  const samples: LimitSample[] = [];
  let fullAt: number | null = null;
  let lookedAt = Number.NEGATIVE_INFINITY;
  let inCooldown = false;
  let taken = 0;
  let unexplained = 0;
  for (const { at, outcome, tokens, requestId } of inOrder) {
    if (outcome === 'answered') {
      inCooldown = false;
      count(counted, at, tokens.input + tokens.output, windowMs);
      // Once a length: to look with each request would take the square of their number.
      if (at < lookedAt + windowMs) continue;
      lookedAt = at;
      taken = Math.max(taken, bucketBound(counted, windowMs, fullAt, at));
    } else if (outcome === 'upstream-429') {
      const bound = inCooldown ? 0 : bucketBound(counted, windowMs, fullAt, at);
      if (bound > 0) samples.push({ at, requestId, tokens: Math.round(bound) });
      else if (!inCooldown) unexplained += 1;
      inCooldown = true;
      fullAt = at;
    }
  }
  return { limit: middle(samples.map(({ tokens }) => tokens)), samples, taken, unexplained };
}

/** Together with what came just before: a look back has so many steps a length at most. */
const STEPS = 60;

function count(counted: Counted[], at: number, tokens: number, windowMs: number): void {
  const last = counted.at(-1);
  if (last === undefined || at >= last.at + windowMs / STEPS) counted.push({ at, tokens });
  else counted[counted.length - 1] = { at: last.at, tokens: last.tokens + tokens };
}

function inferWindow(
  inOrder: readonly LoggedAttempt[],
  kind: Exclude<WindowKind, 'bucket'>,
  windowMs: number,
): InferredLimit {
  const counted: Counted[] = [];
  const samples: LimitSample[] = [];
  let startedAt: number | null = null;
  let endsAt = Number.NEGATIVE_INFINITY;
  let inCooldown = false;
  let taken = 0;
  let unexplained = 0;
  let from = 0;
  let used = 0;
  /** Drops what lies before `since` from the count. */
  const forget = (since: number) => {
    while (from < counted.length && (counted[from] as Counted).at < since) {
      used -= (counted[from] as Counted).tokens;
      from += 1;
    }
  };
  for (const attempt of inOrder) {
    const { at, outcome, tokens, requestId, retryAfterMs } = attempt;
    if (kind === 'sliding') forget(at - windowMs);
    else if (at >= endsAt) startedAt = null;
    if (outcome === 'answered') {
      if (kind === 'fixed' && startedAt === null) {
        startedAt = at;
        endsAt = at + windowMs;
        forget(at);
      }
      taken = Math.max(taken, used);
      inCooldown = false;
      counted.push({ at, tokens: tokens.input + tokens.output });
      used += tokens.input + tokens.output;
    } else if (outcome === 'upstream-429') {
      const short = retryAfterMs !== null && retryAfterMs < SHORT_WAIT_MS;
      const ofRate = kind === 'fixed' && short && windowMs > SHORT_WAIT_REACH * retryAfterMs;
      if (kind === 'fixed' && retryAfterMs !== null && !ofRate) {
        endsAt = at + retryAfterMs;
        startedAt = endsAt - windowMs;
        forget(startedAt);
      }
      const first = !inCooldown;
      inCooldown = true;
      if (first && !ofRate && used > 0) samples.push({ at, requestId, tokens: Math.round(used) });
      else if (first) unexplained += 1;
    }
  }
  return { limit: middle(samples.map(({ tokens }) => tokens)), samples, taken, unexplained };
}

/** Of an even number, the lower one: samples err upward, by the request that went over. */
function middle(values: readonly number[]): number | null {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? null;
}

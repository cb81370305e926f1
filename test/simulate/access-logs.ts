import { rfc3339 } from '../../src/platform/clock.js';

const START = 1_790_000_000_000;
const MINUTE = 60_000;
const WINDOW = 300 * MINUTE;

/** A line as the proxy writes it (docs/reference/access-log.md). */
export function line(overrides: Readonly<Record<string, unknown>> = {}): string {
  return JSON.stringify({
    at: rfc3339(START),
    requestId: 'tg_0',
    upstream: 'a',
    scope: 'a',
    model: 'm',
    session: 's',
    bodyBytes: 4_000,
    decision: 'admitted',
    status: 200,
    upstreamStatus: 200,
    estimatedTokens: 1_000,
    inputTokens: 900,
    cachedTokens: 0,
    outputTokens: 100,
    complete: true,
    waitMs: 1.5,
    firstByteMs: 700.1,
    durationMs: 4_000.5,
    retryAfterMs: null,
    ...overrides,
  });
}

/**
 * Two windows of five hours against a limit of 100,000 tokens, as Tidegate without a budget would have logged
 * them: a request of 1,000 tokens each minute and a half, from agents by turns; the hundred and first is refused until the
 * window ends, and told to wait until then, as are those after it, by us.
 */
export function twoWindows(): { lines: string[]; refused: string[] } {
  const lines: string[] = [];
  const refused: string[] = [];
  let count = 0;
  let used = 0;
  let endsAt = START + WINDOW;
  let blocked = false;
  for (let at = START; at < START + 2 * WINDOW - MINUTE; at += 1.5 * MINUTE) {
    count += 1;
    const own = { at: rfc3339(at), requestId: `tg_${count}`, session: `s${count % 4}` };
    // Each request of a session is larger than the one before, so none is taken for a retry of it.
    const bodyBytes = 4_000 + count;
    if (at >= endsAt) {
      used = 0;
      blocked = false;
      endsAt = at + WINDOW;
    }
    if (used < 100_000) {
      used += 1_000;
      lines.push(line({ ...own, bodyBytes }));
      continue;
    }
    const nothing = { inputTokens: null, cachedTokens: null, outputTokens: null, complete: false };
    const refusal = { ...own, ...nothing, bodyBytes, status: 429, retryAfterMs: endsAt - at };
    if (blocked) {
      lines.push(line({ ...refusal, decision: 'cooldown', upstreamStatus: null, waitMs: null }));
    } else {
      refused.push(own.requestId);
      lines.push(line({ ...refusal, upstreamStatus: 429 }));
      blocked = true;
    }
  }
  return { lines, refused };
}

/** What a bucket of the log below grants a minute. */
export const BUCKET_LIMIT = 12_000;

/**
 * An hour against a bucket that grants 12,000 tokens a minute: a request of 1,000 tokens every four seconds,
 * which is 15,000 a minute; one that finds it full is refused, and told to come back in two seconds.
 */
export function busyBucket(): string[] {
  const lines: string[] = [];
  let level = 0;
  let count = 0;
  for (let at = START; at < START + 60 * MINUTE; at += 4_000) {
    count += 1;
    level = Math.max(0, level - (4_000 / MINUTE) * BUCKET_LIMIT);
    const own = { at: rfc3339(at), requestId: `tg_${count}`, session: `s${count % 4}` };
    const bodyBytes = 4_000 + count;
    if (level + 1_000 <= BUCKET_LIMIT) {
      level += 1_000;
      lines.push(line({ ...own, bodyBytes }));
      continue;
    }
    const nothing = { inputTokens: null, cachedTokens: null, outputTokens: null, complete: false };
    const refusal = { status: 429, upstreamStatus: 429, retryAfterMs: 2_000 };
    lines.push(line({ ...own, ...nothing, ...refusal, bodyBytes }));
  }
  return lines;
}

import type { LoggedAttempt } from './access-lines.js';

/** One thing an agent wanted: all its attempts in the log, from the first to the answer. */
export interface LoggedRequest {
  /** That of its first attempt. */
  readonly requestId: string;
  readonly at: number;
  readonly model: string;
  readonly session: string;
  readonly bodyBytes: number;
  readonly tokens: LoggedAttempt['tokens'];
  readonly durationMs: number;
  /** It got an answer in the end; else nobody knows what it would have cost. */
  readonly answered: boolean;
  /** How long it was kept from being answered. */
  readonly waitedMs: number;
  readonly refusedHere: number;
  readonly upstream429: readonly LoggedAttempt[];
}

/** A refusal and a later try are the same request if no more than this lies between them. */
const RETRIED_WITHIN_MS = 3_600_000;

/**
 * A client that is refused comes back with the same request, as another line of the log. Taken for two they
 * would double the demand, so attempts of one session, model and size are one request, until it is answered.
 */
export function requestsOf(attempts: readonly LoggedAttempt[]): readonly LoggedRequest[] {
  const requests: LoggedRequest[] = [];
  const open = new Map<string, LoggedAttempt[]>();
  const close = (key: string, tries: readonly LoggedAttempt[]) => {
    open.delete(key);
    requests.push(requestOf(tries));
  };
  for (const attempt of [...attempts].sort((one, other) => one.at - other.at)) {
    const key = `${attempt.session} ${attempt.model} ${attempt.bodyBytes}`;
    let tries = open.get(key) ?? [];
    const latest = tries.at(-1);
    if (latest !== undefined && attempt.at - latest.at > RETRIED_WITHIN_MS) {
      close(key, tries);
      tries = [];
    }
    tries = [...tries, attempt];
    if (attempt.outcome === 'answered') close(key, tries);
    // What failed otherwise cost nothing, and is not asked for again as far as limits are concerned.
    else if (attempt.outcome === 'failed') open.delete(key);
    else open.set(key, tries);
  }
  for (const [key, tries] of open) close(key, tries);
  return requests.sort((one, other) => one.at - other.at);
}

function requestOf(tries: readonly LoggedAttempt[]): LoggedRequest {
  const first = tries[0] as LoggedAttempt;
  const last = tries.at(-1) as LoggedAttempt;
  return {
    requestId: first.requestId,
    at: first.at,
    model: first.model,
    session: first.session,
    bodyBytes: first.bodyBytes,
    tokens: last.tokens,
    durationMs: last.durationMs,
    answered: last.outcome === 'answered',
    waitedMs: last.at - first.at,
    refusedHere: tries.filter(({ outcome }) => outcome === 'refused-here').length,
    upstream429: tries.filter(({ outcome }) => outcome === 'upstream-429'),
  };
}

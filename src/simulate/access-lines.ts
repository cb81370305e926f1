import { parseRfc3339 } from '../platform/clock.js';

/** One line of the access log (docs/reference/access-log.md), as far as a replay needs it. */
export interface LoggedAttempt {
  readonly at: number;
  readonly requestId: string;
  readonly model: string;
  readonly session: string;
  readonly bodyBytes: number;
  readonly outcome: 'answered' | 'upstream-429' | 'refused-here' | 'failed';
  /** Input and output; where they are not known, what was estimated. */
  readonly tokens: { readonly input: number; readonly cached: number; readonly output: number };
  /** The figures are the upstream's. */
  readonly known: boolean;
  readonly durationMs: number;
  readonly retryAfterMs: number | null;
}

export interface BadLine {
  readonly line: number;
  readonly message: string;
}

export interface ReadLog {
  readonly attempts: readonly LoggedAttempt[];
  /** Every scope in the log, whichever was asked for. */
  readonly scopes: readonly string[];
  /** The first of them; `badLines` counts all. */
  readonly bad: readonly BadLine[];
  readonly badLines: number;
  /** There were more requests than are taken in at once. */
  readonly cutAt: number | null;
}

/** What is kept of a log at most: 150 MB of memory or so. */
export const MOST_ATTEMPTS = 500_000;
const MOST_BAD_TOLD = 20;
const MOST_SCOPES = 64;
const DECISIONS = ['admitted', 'cooldown', 'budget', 'probing', 'state', 'terminal', 'overload'];

/** Reads a log line by line and keeps what a replay needs; bad lines are told and left out. */
export function readAccessLog(
  lines: Iterable<string>,
  scope: string | null,
  most = MOST_ATTEMPTS,
): ReadLog {
  const attempts: LoggedAttempt[] = [];
  const bad: BadLine[] = [];
  const scopes = new Set<string>();
  const shared = new Map<string, string>();
  let badLines = 0;
  let line = 0;
  for (const text of lines) {
    line += 1;
    if (text.trim() === '') continue;
    const read = readLine(text, shared);
    if (typeof read === 'string') {
      badLines += 1;
      if (bad.length < MOST_BAD_TOLD) bad.push({ line, message: read });
      continue;
    }
    if (scopes.size < MOST_SCOPES) scopes.add(read.scope);
    if (scope !== null && read.scope !== scope) continue;
    if (attempts.length >= most)
      return { attempts, scopes: [...scopes], bad, badLines, cutAt: line };
    attempts.push(read.attempt);
  }
  return { attempts, scopes: [...scopes], bad, badLines, cutAt: null };
}

/** What is wrong with the line, or what it says. `shared`: one copy of each name, however many lines. */
function readLine(
  text: string,
  shared: Map<string, string>,
): string | { readonly scope: string; readonly attempt: LoggedAttempt } {
  let entry: Record<string, unknown>;
  try {
    entry = JSON.parse(text) as Record<string, unknown>;
  } catch {
    return 'is no JSON';
  }
  if (typeof entry !== 'object' || entry === null || Array.isArray(entry)) return 'is no object';
  for (const key of ['at', 'requestId', 'scope', 'model', 'session', 'decision']) {
    if (typeof entry[key] !== 'string') return `has no text in "${key}"`;
  }
  for (const key of ['bodyBytes', 'status', 'durationMs']) {
    if (!isAmount(entry[key])) return `has no number in "${key}"`;
  }
  for (const key of OPTIONAL) {
    if (entry[key] !== null && !isAmount(entry[key]))
      return `has neither number nor null in "${key}"`;
  }
  const line = entry as unknown as Line;
  const at = parseRfc3339(line.at);
  if (at === null) return 'has no RFC 3339 instant in "at"';
  if (!DECISIONS.includes(line.decision)) return 'has a "decision" that is not known';
  return { scope: line.scope, attempt: attemptOf(line, at, (name) => once(shared, name)) };
}

const OPTIONAL = [
  'upstreamStatus',
  'estimatedTokens',
  'inputTokens',
  'cachedTokens',
  'outputTokens',
  'retryAfterMs',
] as const;

type Line = Readonly<Record<(typeof OPTIONAL)[number], number | null>> & {
  readonly [Key in 'at' | 'requestId' | 'scope' | 'model' | 'session' | 'decision']: string;
} & { readonly bodyBytes: number; readonly durationMs: number };

function attemptOf(line: Line, at: number, name: (text: string) => string): LoggedAttempt {
  const { inputTokens, cachedTokens, outputTokens, estimatedTokens, upstreamStatus } = line;
  const known = inputTokens !== null && outputTokens !== null;
  const input = inputTokens ?? estimatedTokens ?? 0;
  return {
    at,
    requestId: line.requestId,
    model: name(line.model),
    session: name(line.session),
    bodyBytes: line.bodyBytes,
    outcome: outcomeOf(line.decision, upstreamStatus),
    tokens: { input, cached: cachedTokens ?? 0, output: known ? outputTokens : 0 },
    known,
    durationMs: line.durationMs,
    retryAfterMs: line.retryAfterMs,
  };
}

function outcomeOf(decision: string, upstreamStatus: number | null): LoggedAttempt['outcome'] {
  if (upstreamStatus === 429) return 'upstream-429';
  if (decision !== 'admitted') return 'refused-here';
  return upstreamStatus !== null && upstreamStatus >= 200 && upstreamStatus < 300
    ? 'answered'
    : 'failed';
}

/** Names of sessions differ without end; those of a busy day fit. */
const MOST_SHARED = 100_000;

function once(shared: Map<string, string>, name: string): string {
  const known = shared.get(name);
  if (known !== undefined) return known;
  if (shared.size < MOST_SHARED) shared.set(name, name);
  return name;
}

function isAmount(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value <= 1e15;
}

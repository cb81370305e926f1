import type { TracedRequest } from './world.js';

export type ReadTraceResult =
  | { readonly ok: true; readonly sessions: readonly (readonly TracedRequest[])[] }
  | { readonly ok: false; readonly message: string };

/** A trace larger than this is not one that somebody wants to wait for. */
const MOST_LINES = 1_000_000;

/** Recorded sessions, in the order in which they first appear. */
export function readTrace(path: string, readFile: (path: string) => string): ReadTraceResult {
  let text: string;
  try {
    text = readFile(path);
  } catch {
    return { ok: false, message: 'cannot be read' };
  }
  const lines = text.split('\n');
  if (lines.length > MOST_LINES) return { ok: false, message: `has over ${MOST_LINES} lines` };
  const sessions = new Map<string, TracedRequest[]>();
  for (const [index, line] of lines.entries()) {
    if (line.trim() === '') continue;
    const entry = readLine(line);
    if (entry === null) return { ok: false, message: `has no request in line ${index + 1}` };
    const session = sessions.get(entry.session);
    if (session === undefined) sessions.set(entry.session, [entry.request]);
    else session.push(entry.request);
  }
  if (sessions.size === 0) return { ok: false, message: 'is empty' };
  return { ok: true, sessions: [...sessions.values()] };
}

function readLine(line: string): { session: string; request: TracedRequest } | null {
  let entry: Record<string, unknown>;
  try {
    entry = JSON.parse(line) as Record<string, unknown>;
  } catch {
    return null;
  }
  if (typeof entry !== 'object' || entry === null) return null;
  const { session, model } = entry;
  if (typeof session !== 'string' || typeof model !== 'string') return null;
  const numbers = ['t', 'input', 'cacheRead', 'output', 'seconds'].map((key) => entry[key]);
  if (!numbers.every(isAmount)) return null;
  const [t = 0, input = 0, cacheRead = 0, output = 0, seconds = 0] = numbers as number[];
  return {
    session,
    request: {
      atMs: t * 1_000,
      model,
      inputTokens: Math.round(input),
      cachedTokens: Math.round(cacheRead),
      outputTokens: Math.round(output),
      durationMs: seconds * 1_000,
    },
  };
}

function isAmount(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value <= 1e9;
}

import type { Instant } from './scope-state.js';

/**
 * The port to what is told of the past: events, and the grounds of local refusals. It stands beside the
 * state, never in its way: no decision reads it, none waits for it, and losing it loses no token. One
 * contract suite (test/contract) runs the same cases on every adapter.
 *
 * What a caller may rely on:
 * - `append` keeps an entry once, however often it is given: a journal is filled again from what the state
 *   remembers. It resolves when the entries were taken, rejects when they were not.
 * - `read` and `find` see what was appended before, by any instance that shares the store.
 * - Entries live for as long as their stream says, and the newest of them within a bound of size.
 * - A crash may lose the last moments, never what is older.
 */
export interface EventJournal {
  append(entries: readonly JournalEntry[]): Promise<void>;
  /** Of one stream, oldest first; where there are more than `most`, the newest. */
  read(query: JournalQuery): Promise<readonly JournalEntry[]>;
  /** Entries whose span of request ids holds this one, of all scopes, oldest first. */
  find(request: RequestNumber): Promise<readonly JournalEntry[]>;
  /** Drops what has lived long enough. */
  prune(now: Instant): Promise<void>;
  /** One sentence for the operator while it can't be written. */
  readonly problem: string | null;
  close(): Promise<void>;
}

export const STREAMS = ['event', 'refusals'] as const;
export type Stream = (typeof STREAMS)[number];

export interface JournalEntry {
  readonly stream: Stream;
  readonly scope: string;
  /** Of its stream and scope, and of the process that `requests` names; rises with time. */
  readonly id: number;
  readonly at: Instant;
  /** For refusals: the ids it is about lie within these. */
  readonly requests: RequestSpan | null;
  /** What JSON can say. */
  readonly document: Readonly<Record<string, unknown>>;
}

/** A request id in its parts: what a process begins all of them with, and a count. */
export interface RequestNumber {
  readonly prefix: string;
  readonly number: number;
}

export interface RequestSpan {
  readonly prefix: string;
  readonly first: number;
  readonly last: number;
}

export interface JournalQuery {
  readonly stream: Stream;
  /** Null: of every scope. */
  readonly scope: string | null;
  /** No older than this. */
  readonly from: Instant;
  readonly most: number;
}

const HOUR_MS = 3_600_000;

/** How long entries are kept; refusals an hour longer than is promised, for whoever asks at the last minute. */
export const KEPT_MS: Readonly<Record<Stream, number>> = {
  event: 30 * 24 * HOUR_MS,
  refusals: 25 * HOUR_MS,
};

/** Rows of a table that are kept at most, the newest. */
export const MOST_ROWS: Readonly<Record<Stream, number>> = { event: 100_000, refusals: 200_000 };

/** Entries that one answer holds at most, whatever is asked for. */
export const MOST_READ = 1_000;

/** What tells an entry from every other. */
export function keyOf({ stream, scope, id, requests }: JournalEntry): string {
  return JSON.stringify([stream, scope, id, requests?.prefix ?? '']);
}

/** An entry as a row of a table. */
export function rowOf({ stream, scope, id, at, requests, document }: JournalEntry) {
  const { prefix = '', first = null, last = null } = requests ?? {};
  return { stream, scope, id, at, prefix, first, last, document: JSON.stringify(document) };
}

/** As a database gives it back: numbers of 64 bits may come as text, JSON as what it says. */
export interface FoundRow {
  readonly stream: Stream;
  readonly scope: string;
  readonly id: number | string;
  readonly at: number | string;
  readonly prefix: string;
  readonly first: number | string | null;
  readonly last: number | string | null;
  readonly document: string | JournalEntry['document'];
}

export function entryOf(row: FoundRow): JournalEntry {
  const { stream, scope, id, at, prefix, first, last, document } = row;
  return {
    stream,
    scope,
    id: Number(id),
    at: Number(at),
    requests:
      first === null || last === null ? null : { prefix, first: Number(first), last: Number(last) },
    document: typeof document === 'string' ? JSON.parse(document) : document,
  };
}

/** Oldest first; events of one instant by their ids. */
export function inOrder(a: JournalEntry, b: JournalEntry): number {
  return a.at - b.at || a.id - b.id || (a.scope < b.scope ? -1 : 1);
}

export function holds(entry: JournalEntry, { prefix, number }: RequestNumber): boolean {
  const { requests } = entry;
  return (
    requests !== null &&
    requests.prefix === prefix &&
    requests.first <= number &&
    number <= requests.last
  );
}

export function answers(entry: JournalEntry, query: JournalQuery): boolean {
  const { stream, scope, from } = query;
  return entry.stream === stream && entry.at >= from && (scope === null || entry.scope === scope);
}

import type { RequestNumber } from '../state/event-journal.js';

/** Ids that one process gives out: its prefix, then a count in base 36. */
const REQUEST_ID = /^(?<prefix>tg_[0-9a-f]{8})(?<count>[0-9a-z]{1,10})$/;

/** The parts of a request id; null if it is none of ours. */
export function readRequestId(id: string): RequestNumber | null {
  const { prefix, count } = REQUEST_ID.exec(id)?.groups ?? {};
  if (prefix === undefined || count === undefined) return null;
  return { prefix, number: Number.parseInt(count, 36) };
}

/** First and last of ids in a row. */
export type Run = readonly [first: number, last: number];

/** Adds an id to runs, which rise. Ids are given out in order, and refused nearly so. */
export function addToRuns(runs: Run[], number: number): void {
  const last = runs.at(-1);
  if (last !== undefined && number === last[1] + 1) runs[runs.length - 1] = [last[0], number];
  else runs.push([number, number]);
}

export function isInRuns(runs: readonly Run[], number: number): boolean {
  return runs.some(([first, last]) => first <= number && number <= last);
}

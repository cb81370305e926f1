import type { Instant } from '../state/scope-state.js';
import type { Draft } from './draft.js';

/**
 * What a process knows of the starts under its name. The name should be its own; where it is not, as
 * when the next process starts before this one has stopped, the record is that of the latest start.
 */
export interface OwnStart {
  /** The latest one, as it is on record; null before this process's own. */
  readonly startedAt: Instant | null;
  /** It was another's. */
  readonly replaced: boolean;
  /** This process's own has become durable. */
  readonly durable: boolean;
}

export const NOT_STARTED: OwnStart = { startedAt: null, replaced: false, durable: false };

/** What becomes of it by a look at the record. */
export function lookAtStarts(draft: Draft, self: string, known: OwnStart): OwnStart {
  const latest = latestStart(draft, self);
  if (known.startedAt === null || latest === null || latest === known.startedAt) return known;
  if (latest > known.startedAt) return { ...known, startedAt: latest, replaced: true };
  // Set back with a clock; unless ours never came on record, and this is the one before.
  return known.durable ? { ...known, startedAt: latest } : known;
}

/** The latest start on record is the one that is known. Others may have forgotten all of them. */
export function isOnRecord(draft: Draft, self: string, { startedAt }: OwnStart): boolean {
  return startedAt !== null && (latestStart(draft, self) ?? startedAt) === startedAt;
}

function latestStart({ cold }: Draft, self: string): Instant | null {
  return cold.starts[self]?.at(-1)?.at ?? null;
}

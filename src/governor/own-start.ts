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
  /** The latest one that was found stopped cleanly while this process runs on. */
  readonly outlived: Instant | null;
}

export const NOT_STARTED: OwnStart = {
  startedAt: null,
  replaced: false,
  durable: false,
  outlived: null,
};

/** What becomes of it by a look at the record. */
export function lookAtStarts(draft: Draft, self: string, before: OwnStart): OwnStart {
  const known = outlive(draft, self, before);
  const latest = latestStart(draft, self);
  if (known.startedAt === null || latest === null || latest === known.startedAt) return known;
  if (latest > known.startedAt) return { ...known, startedAt: latest, replaced: true };
  // Set back with a clock; unless ours never came on record, and this is the one before.
  return known.durable ? { ...known, startedAt: latest } : known;
}

/**
 * A process that runs finds its record stopped: by another that was started later, and has ended in good
 * order. Whoever takes that stop back is the one whose stop the record waits for.
 */
export function outlive(draft: Draft, self: string, known: OwnStart): OwnStart {
  if ((draft.hot.instances[self]?.stoppedAt ?? null) === null) return known;
  const outlived = latestStart(draft, self);
  return outlived === known.outlived ? known : { ...known, outlived };
}

/** The latest start is another's, which has not ended in good order as far as is known. */
export function isReplaced({ startedAt, replaced, outlived }: OwnStart): boolean {
  return replaced && outlived !== startedAt;
}

/** The latest start on record is the one that is known. Others may have forgotten all of them. */
export function isOnRecord(draft: Draft, self: string, { startedAt }: OwnStart): boolean {
  return startedAt !== null && (latestStart(draft, self) ?? startedAt) === startedAt;
}

function latestStart({ cold }: Draft, self: string): Instant | null {
  return cold.starts[self]?.at(-1)?.at ?? null;
}

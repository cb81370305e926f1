import { rfc3339 } from '../platform/clock.js';
import { TidegateError } from '../platform/tidegate-error.js';
import type { Instant, ScopeState } from '../state/scope-state.js';
import { SIGN_OF_LIFE_MS, type StateRepository } from '../state/state-repository.js';
import { UsageError } from './arguments.js';

/** An instance of a shared store that did not stop, and was heard of within this time, may be running. */
const SILENT_MS = 3 * SIGN_OF_LIFE_MS;

/** One of the two stores of a copy, as it was found. */
export interface CopySide {
  readonly name: string;
  readonly repository: StateRepository;
  readonly scopes: ReadonlyMap<string, ScopeState>;
  /** The clock of the store. */
  readonly now: Instant;
}

/** What speaks against a copy, unless somebody knows better; `--force` says so. */
export interface Objections {
  /** Each a sentence without its full stop. */
  readonly reasons: readonly string[];
  /** What ends the copy, and tells all of them. */
  readonly fault: Error;
}

/** All of them at once: whoever forces a copy for the sake of one would never hear of the others. */
export function objectionsTo(from: CopySide, to: CopySide): Objections | null {
  const [reading, writing] = [running(from), running(to)];
  const newer = newerTarget(from, to);
  const reasons = [inUse(from, reading), inUse(to, writing), newer].filter((why) => why !== null);
  if (reasons.length === 0) return null;
  if (reading.length === 0 && writing.length === 0) {
    const advice = 'Copy the other way round, or use --force to overwrite the newer state.';
    return { reasons, fault: new UsageError(`${reasons.join('; ')}. ${advice}`) };
  }
  const hints: string[] = [];
  if (reading.length > 0) {
    hints.push(`stop those on ${from.name}: what they charge meanwhile is not copied`);
  }
  if (writing.length > 0) {
    hints.push(`stop those on ${to.name}: what they have charged is overwritten`);
  }
  hints.push('if they have died and nobody started them again, use --force, or wait three hours');
  if (newer !== null) hints.push('copy the other way round, or --force overwrites the newer state');
  const hint = hints.join('; ');
  return { reasons, fault: new TidegateError('STATE_LOCKED', reasons.join('; '), { hint }) };
}

function inUse({ name }: CopySide, instances: readonly string[]): string | null {
  return instances.length === 0 ? null : `${name} is in use by ${instances.join(', ')}`;
}

/** Instances that may be at work; in any scope, each once. */
function running({ repository, scopes, now }: CopySide): readonly string[] {
  // The other stores have a lock, which would have refused us.
  if (!repository.shared) return [];
  const names = [...scopes.values()].flatMap(({ hot }) =>
    Object.entries(hot.instances)
      .filter(([, { stoppedAt, seenAt }]) => stoppedAt === null && now - seenAt < SILENT_MS)
      .map(([instance]) => instance),
  );
  return [...new Set(names)];
}

function newerTarget(from: CopySide, to: CopySide): string | null {
  const [theirs, ours] = [lastSeenAt(to), lastSeenAt(from)];
  if (to.scopes.size === 0 || theirs <= ours) return null;
  return `${to.name} was in use until ${rfc3339(theirs)}, ${from.name} only until ${rfc3339(ours)}`;
}

/** The latest that anybody was heard of in these scopes. */
function lastSeenAt({ scopes }: CopySide): Instant {
  const instants = [...scopes.values()].flatMap(({ hot }) =>
    Object.values(hot.instances).flatMap(({ startedAt, seenAt, stoppedAt }) => [
      startedAt,
      seenAt,
      stoppedAt ?? 0,
    ]),
  );
  return Math.max(0, ...instants);
}

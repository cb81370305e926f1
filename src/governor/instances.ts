import { BOUNDS } from '../state/scope-state.js';
import type { HotState, InstanceStart, Instant, ScopeState } from '../state/scope-state.js';

type Instances = HotState['instances'];

/** Unclean starts within a span that make a crash loop; either is enough. */
const CRASH_LOOPS = [
  { starts: 5, withinMs: 300_000 },
  { starts: 15, withinMs: 7_200_000 },
] as const;
/** `recentStarts` in /status looks this far back, and starts older than this are forgotten. */
const REMEMBERED_MS = 7_200_000;
/** An instance with nothing in flight is forgotten after a day. */
const FORGOTTEN_MS = 86_400_000;

export function recentStarts(starts: readonly InstanceStart[], now: Instant): number {
  return starts.filter(({ at }) => now - at < REMEMBERED_MS).length;
}

export function uncleanStarts(
  starts: readonly InstanceStart[],
  now: Instant,
  withinMs = REMEMBERED_MS,
): number {
  return starts.filter(({ at, unclean }) => unclean && now - at < withinMs).length;
}

export function isCrashLoop(starts: readonly InstanceStart[], now: Instant): boolean {
  return CRASH_LOOPS.some((loop) => uncleanStarts(starts, now, loop.withinMs) >= loop.starts);
}

/** Any instance of the scope in a crash loop: the controller may not raise. */
export function hasCrashLoop(state: ScopeState, now: Instant): boolean {
  return Object.values(state.cold.starts).some((starts) => isCrashLoop(starts, now));
}

/** Adds a start; starts too old to matter are dropped. */
export function addStart(
  starts: readonly InstanceStart[],
  start: InstanceStart,
): readonly InstanceStart[] {
  const recent = starts.filter(({ at }) => start.at - at < REMEMBERED_MS);
  return [...recent, start].slice(-BOUNDS.startsPerInstance);
}

/** Requests of all instances that were admitted and have not settled. */
export function inFlight(hot: HotState): number {
  let sum = 0;
  for (const instance of Object.values(hot.instances)) sum += instance.inFlight;
  return sum;
}

/** Requests of all instances in flight whose input is not known yet, and what caches gone cold would add to it. */
export function guesses(hot: HotState): { readonly guessed: number; readonly coldTokens: number } {
  let guessed = 0;
  let coldTokens = 0;
  for (const instance of Object.values(hot.instances)) {
    guessed += instance.guessed;
    coldTokens += instance.coldTokens;
  }
  return { guessed, coldTokens };
}

/** Other instances that have something in flight and have not been heard of for too long. */
export function silentInstances(
  hot: HotState,
  self: string,
  now: Instant,
  silentAfterMs: number,
): readonly string[] {
  return Object.entries(hot.instances)
    .filter(([name, { inFlight: flying, seenAt }]) => {
      return name !== self && flying > 0 && now - seenAt >= silentAfterMs;
    })
    .map(([name]) => name);
}

/** Drops instances that nothing is left of. */
export function forgetOldInstances(state: ScopeState, self: string, now: Instant): ScopeState {
  const old = Object.entries(state.hot.instances).filter(
    ([name, { inFlight: flying, seenAt }]) =>
      name !== self && flying === 0 && now - seenAt >= FORGOTTEN_MS,
  );
  return forget(
    state,
    old.map(([name]) => name),
  );
}

/** Drops these instances; what they have charged stays. The same reference for none. */
export function forget(state: ScopeState, names: readonly string[]): ScopeState {
  if (names.length === 0) return state;
  const instances = { ...state.hot.instances };
  const starts = { ...state.cold.starts };
  for (const name of names) {
    delete instances[name];
    delete starts[name];
  }
  return { hot: { ...state.hot, instances }, cold: { ...state.cold, starts } };
}

/**
 * Who has to go for one more instance: the one longest silent; null while there is room. With more live instances
 * than BOUNDS.instances one of them may be dropped; it comes back with its next admission.
 */
export function oneTooMany({ hot, cold }: ScopeState, name: string): string | null {
  if (Object.hasOwn(hot.instances, name)) return null;
  const seenAt = (known: string) => hot.instances[known]?.seenAt ?? 0;
  const names = new Set([...Object.keys(hot.instances), ...Object.keys(cold.starts)]);
  if (names.has(name) || names.size < BOUNDS.instances) return null;
  return [...names].reduce((oldest, known) => (seenAt(known) < seenAt(oldest) ? known : oldest));
}

export interface InFlightChange {
  readonly inFlight: 1 | 0 | -1;
  /** Of those whose input is not known. */
  readonly guessed: 1 | 0 | -1;
  /** Of the one that `guessed` counts. */
  readonly coldTokens: number;
}

/** Nothing in flight. */
export const NONE_IN_FLIGHT = { inFlight: 0, guessed: 0, coldTokens: 0 } as const;

/** One more request of the instance in flight, or one less, or one more of them known. */
export function countInFlight(
  instances: Instances,
  name: string,
  by: InFlightChange,
  now: Instant,
): Instances {
  // One that had to go for others has nothing in flight any more.
  if (by.inFlight !== 1 && !Object.hasOwn(instances, name)) return instances;
  const before = instances[name] ?? {
    startedAt: now,
    stoppedAt: null,
    turn: null,
    ...NONE_IN_FLIGHT,
  };
  const inFlight = Math.max(0, before.inFlight + by.inFlight);
  const guessed = Math.min(inFlight, Math.max(0, before.guessed + by.guessed));
  const coldTokens =
    guessed === 0 ? 0 : Math.max(0, before.coldTokens + by.guessed * by.coldTokens);
  // Whoever admits runs, also if another under its name has stopped. What settles late does not take a stop back.
  const stoppedAt = by.inFlight === 1 ? null : before.stoppedAt;
  const after = { ...before, inFlight, guessed, coldTokens, seenAt: now, stoppedAt };
  return { ...instances, [name]: after };
}

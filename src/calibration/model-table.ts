import type { Instant, ModelEstimate } from '../state/scope-state.js';

/** A model that has taught so often is no name that somebody made up. */
const ESTABLISHED = 20;
/** One of those makes room when it has not been used for so long. */
const IDLE_MS = 3_600_000;

/**
 * The model that makes room for another one in a full table: the longest unused, of those that are
 * hardly known or idle. Null: none does, and the other one is not learned. A client chooses the
 * model's name; so names that nobody has seen before displace one another, and never one in use.
 */
export function leastNeeded(
  models: Iterable<readonly [string, ModelEstimate]>,
  now: Instant,
): string | null {
  let least: readonly [string, ModelEstimate] | null = null;
  for (const entry of models) {
    const [, { count, usedAt }] = entry;
    if (count >= ESTABLISHED && now - usedAt < IDLE_MS) continue;
    if (least === null || isLessNeeded(entry, least)) least = entry;
  }
  return least === null ? null : least[0];
}

/** By name where both were used at once: stores may list them in another order. */
function isLessNeeded(
  [name, { usedAt }]: readonly [string, ModelEstimate],
  [otherName, other]: readonly [string, ModelEstimate],
): boolean {
  return usedAt < other.usedAt || (usedAt === other.usedAt && name < otherName);
}

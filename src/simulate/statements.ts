import type { LimitStatement } from '../governor/attribution.js';
import type { Standing } from './upstream.js';
import type { HeaderKind } from './world.js';

const SECOND = 1_000;

/** What the headers of an answer say of the limit, each kind with the rounding of its provider. */
export function statementsOf(
  headers: Exclude<HeaderKind, 'none'>,
  windowMs: number,
  standing: Standing,
  toInstant: (elapsedMs: number) => number,
): readonly LimitStatement[] {
  const resetAt = Math.ceil(toInstant(standing.resetAt) / SECOND) * SECOND;
  const name = headers === 'unified' ? '5h' : 'tokens';
  return [{ name, windowMs, resetAt, representative: true }];
}

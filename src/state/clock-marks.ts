import { BEHIND_MS } from '../platform/clock.js';
import type { Instant, ScopeState, StateLoss } from './scope-state.js';

/**
 * What happens to a scope's instants when the clock is not to be believed. A clock far behind the record takes all of
 * them back with it, so that every wait keeps its length. If it was the clock that was wrong, and not the record, it
 * will be set right some time; and then they must come forth again, or every window would end at once.
 */

/** Marks the scope for the governor's next update, in place of what was marked before. */
export function marked({ hot, ...rest }: ScopeState, lost: StateLoss | null): ScopeState {
  return { ...rest, hot: { ...hot, lost } };
}

/** Marks a scope whose record ends at `recordedAt`, more than an hour ahead of the clock. */
export function markBehind(state: ScopeState, recordedAt: Instant, now: Instant): ScopeState {
  // Its instants go by the record that nobody has acted on yet.
  const pending = pendingRecord(state) ?? 0;
  return marked(state, { reason: 'clock', at: now, recordedAt: Math.max(recordedAt, pending) });
}

/**
 * Marks a scope that went back with the clock, where the clock is right again; else the same reference.
 *
 * @param gapMs Between the record's end and now: what the clock was set forward by, or the time that nobody wrote.
 *   Which of them nobody can tell, and to take it for the former only lengthens waits.
 */
export function markSetRight(state: ScopeState, gapMs: number, now: Instant): ScopeState {
  const pending = pendingRecord(state);
  if (pending !== null) {
    return now < pending ? state : marked(state, { reason: 'clock', at: now, recordedAt: null });
  }
  const { setBack } = state.hot;
  if (setBack === null || gapMs <= BEHIND_MS) return state;
  const recordedAt = now - Math.min(gapMs, setBack.byMs);
  return marked(state, { reason: 'clock', at: now, recordedAt });
}

function pendingRecord({ hot }: ScopeState): Instant | null {
  return hot.lost?.reason === 'clock' ? hot.lost.recordedAt : null;
}

import { addPromise, type Promises } from '../budget/promised.js';
import type { HotState, Instant, TurnState } from '../state/scope-state.js';
import type { Draft } from './draft.js';
import { type Before, isKept, type WaitingLine } from './waiting-line.js';

/**
 * Each instance has a line of its own, and where several share a store the first in each has its turn among
 * those of the others. That is on record, for all have to leave room for it.
 */

/** A place in line is kept this much longer before that is worth a write. */
const SLACK_MS = 1_000;

/** What is promised to those that come before a request, in its own line and in other instances'. */
export function promisedBefore(
  { hot, now }: Draft,
  instance: string,
  { promises, isFirst }: Before,
): Promises {
  let all = promises;
  const turn = isFirst ? turnOf(hot, instance) : null;
  for (const [name, { turn: other }] of Object.entries(hot.instances)) {
    if (other === null || name === instance) continue;
    if (!isKept(other, now) || !precedes(other, turn)) continue;
    const more = { ...all };
    addPromise(more, other.amounts, true);
    all = more;
  }
  return all;
}

/** Of two that came at once it is anybody's; a request that has had no turn yet comes last. */
function precedes(turn: TurnState, own: TurnState | null): boolean {
  return own === null || turn.since < own.since;
}

function turnOf({ instances }: HotState, instance: string): TurnState | null {
  return instances[instance]?.turn ?? null;
}

/** Puts on record whose turn it is in the line of `instance`. */
export function showTurn(draft: Draft, instance: string, line: WaitingLine): void {
  const record = draft.hot.instances[instance];
  if (record === undefined) return;
  const turn = turnFor(line, record.turn, draft.now);
  if (turn === record.turn) return;
  draft.setHot({ instances: { ...draft.hot.instances, [instance]: { ...record, turn } } });
}

function turnFor(line: WaitingLine, shown: TurnState | null, now: Instant): TurnState | null {
  const first = line.first(now);
  const isShown = first !== null && first.key === line.shown;
  line.shown = first?.key ?? null;
  if (first === null) return null;
  const { amounts, until } = first;
  if (!isShown || shown === null) return { since: now, until, amounts };
  return until <= shown.until + SLACK_MS ? shown : { ...shown, until, amounts };
}

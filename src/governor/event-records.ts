import { effectiveBudget, headersLead, limitOf, reservedOf, sourceOf } from '../budget/limits.js';
import {
  BOUNDS,
  type EventDetail,
  type EventRecord,
  type Instant,
  type LimitFigures,
  type LimitState,
  type ScopeState,
} from '../state/scope-state.js';
import type { LimitRules } from '../budget/settings.js';
import { CAUSES, type GovernorEvent } from './events.js';

/** On whose behalf a decision is made. */
export interface Occasion {
  readonly instance: string;
  /** Null for the job, a start or the operator. */
  readonly requestId: string | null;
}

export interface Change {
  readonly before: ScopeState;
  readonly after: ScopeState;
  readonly rules: readonly LimitRules[];
  readonly now: Instant;
}

/** The end of a window this short is told in the log only: it would push everything else out of the state. */
const SHORT_WINDOW_MS = 600_000;

/** Budgets that follow the upstream's statements are told when they have moved by this part of themselves. */
const TOLD_MOVE = 0.02;

/**
 * What happened in one decision, and the budgets that moved without an event of their own. Runs with every
 * decision that changed something, and mostly finds nothing.
 */
export function withMoves(
  events: readonly GovernorEvent[],
  change: Change,
  instance: string,
): readonly GovernorEvent[] {
  const [before, after] = [change.before.hot.limits, change.after.hot.limits];
  if (before === after) return events;
  let told = events;
  for (const { name } of change.rules) {
    const [was, is] = [limitOf(before, name), limitOf(after, name)];
    if (was === is) continue;
    const move = moveOf(name, was, is, events) ?? statedMove(name, was, is, change);
    const news = move === null ? null : unlessRepeated(move, change, instance);
    if (news !== null) told = [...told, news];
  }
  return told;
}

function moveOf(
  limit: string,
  was: LimitState,
  is: LimitState,
  events: readonly GovernorEvent[],
): GovernorEvent | null {
  const [from, to] = [was.budget.current, is.budget.current];
  if (from === to || events.some((event) => 'to' in event && event.limit === limit)) return null;
  const ended = events.some((event) => event.kind === 'window-ended' && event.limit === limit);
  return { kind: 'budget-moved', limit, by: ended ? 'window' : 'configuration', from, to };
}

/** Within this time a budget that goes back is to and fro. */
const TO_AND_FRO_MS = 600_000;
const DIFFERENCE_TOLD_MS = 3_600_000;

/**
 * Instances with different configurations move a budget to and fro, up to twice with each request: that is told as
 * what it is, once an hour, for it would push out everything else that the scope remembers.
 */
function unlessRepeated(
  move: GovernorEvent,
  { before, now }: Change,
  instance: string,
): GovernorEvent | null {
  if (move.kind !== 'budget-moved' || move.by !== 'configuration') return move;
  const { limit, from, to } = move;
  const known = before.cold.events.filter((event) => event.limit === limit);
  const within = (ms: number, kind: GovernorEvent['kind']) =>
    known.filter((event) => event.kind === kind && now - event.at < ms);
  if (within(DIFFERENCE_TOLD_MS, 'configurations-differ').length > 0) return null;
  const moves = within(TO_AND_FRO_MS, 'budget-moved');
  const back = moves.findLast((each) => each.instance !== instance && each.details['from'] === to);
  if (back !== undefined) {
    return { kind: 'configurations-differ', limit, other: back.instance, own: to, others: from };
  }
  const same = moves.some(({ details }) => details['from'] === from && details['to'] === to);
  return same ? null : move;
}

/** The upstream's statements move what admission measures against, a little with each. */
function statedMove(
  limit: string,
  was: LimitState,
  is: LimitState,
  { before }: Change,
): GovernorEvent | null {
  if (was.stated === is.stated && was.window.number === is.window.number) return null;
  const known = before.cold.events.findLast(
    (event) => event.kind === 'budget-stated' && event.limit === limit,
  );
  const from = known?.details['budget'];
  const previous = typeof from === 'number' ? from : null;
  const leads = headersLead(is);
  if (!leads && previous === null) return null;
  const budget = leads ? effectiveBudget(is, false) : null;
  const moved =
    budget === null || previous === null
      ? budget !== previous
      : Math.abs(budget - previous) >= TOLD_MOVE * previous;
  if (!moved) return null;
  const stated = is.stated?.limit ?? null;
  return { kind: 'budget-stated', limit, previous, budget, stated, others: is.others };
}

export function recordsOf(
  events: readonly GovernorEvent[],
  change: Change,
  { instance, requestId }: Occasion,
): EventRecord[] {
  let last = change.before.cold.events.at(-1)?.id ?? 0;
  return events.map((event) => {
    last = Math.max(last + 1, change.now);
    const { kind, ...details } = event;
    const limit = limitConcerned(event, change.rules);
    return {
      id: last,
      at: change.now,
      kind,
      cause: CAUSES[kind],
      limit,
      requestId,
      instance,
      before: figuresOf(change.before, limit),
      after: figuresOf(change.after, limit),
      details: details as Readonly<Record<string, EventDetail>>,
    };
  });
}

/** The newest events that a scope remembers itself. */
export function remember(
  known: readonly EventRecord[],
  records: readonly EventRecord[],
  rules: readonly LimitRules[],
): readonly EventRecord[] {
  const kept = records.filter(({ kind, limit }) => {
    if (kind !== 'window-ended') return true;
    const rule = rules.find(({ name }) => name === limit);
    return rule !== undefined && rule.windowMs >= SHORT_WINDOW_MS;
  });
  return kept.length === 0 ? known : [...known, ...kept].slice(-BOUNDS.events);
}

/** The limit an event is about; where a scope has only one, that. */
function limitConcerned(event: GovernorEvent, rules: readonly LimitRules[]): string | null {
  if ('limit' in event && event.limit !== null) return event.limit;
  const [only, ...others] = rules;
  return only !== undefined && others.length === 0 ? only.name : null;
}

/** What a limit stood at; null if there is none, or it was not known yet. */
export function figuresOf({ hot }: ScopeState, name: string | null): LimitFigures | null {
  if (name === null || !Object.hasOwn(hot.limits, name)) return null;
  const limit = limitOf(hot.limits, name);
  return {
    budget: effectiveBudget(limit, hot.cautious !== null),
    source: sourceOf(limit),
    used: limit.used,
    reserved: reservedOf(limit),
    orphaned: limit.orphaned,
    others: limit.others,
    windowEndsAt: limit.window.endsAt,
  };
}

import { type BudgetState, BOUNDS, type Instant, type LimitState } from '../state/scope-state.js';
import { belowLimit, clampToBounds } from './bounds.js';
import { FULL } from './full.js';
import { provenBudget } from './growth.js';
import { type Limits, reservedOf, wasRefused } from './limits.js';
import { asMeasure, PROVING_WINDOWS } from './proving.js';
import type { LimitRules } from './settings.js';
import { slide } from './sliding.js';
import { keepStated } from './stated-budget.js';
import { adoptLength, closeWindow, isOpen, isOver, openWindow } from './window.js';

/** Closes the window; what it taught about the budget is kept. */
export function endWindow(limit: LimitState, rule: LimitRules): LimitState {
  const { budget, control } = limit;
  const full = budget.current !== null && limit.used >= FULL * budget.current;
  const fullWindows = full && !wasRefused(limit) ? control.fullWindows + 1 : 0;
  const proven = rule.budget === null && fullWindows >= PROVING_WINDOWS;
  return {
    ...limit,
    window: closeWindow(limit.window),
    used: 0,
    cells: [],
    bucket: null,
    unsettled: {},
    orphaned: 0,
    others: 0,
    stated: keepStated(limit),
    budget: proven ? asMeasure(budget) : retreat(limit),
    control: {
      ...control,
      denied: null,
      inTheWay: control.inTheWay || full,
      fullWindows: proven ? 0 : fullWindows,
    },
  };
}

/** Whether the limit's window is that of this number, and one whose end is what a stated reset is about. */
export function endsByReset({ window, cells, bucket }: LimitState, number: number): boolean {
  // What a sliding window states is when there is room, and a bucket when it is whole: neither ends then.
  return window.number === number && cells.length === 0 && bucket === null;
}

/** The request whose answer tells of the next window. */
export interface Teller {
  /** Number of the window that it was charged to. */
  readonly window: number;
  /** What it has cost where that is settled, in the limit's unit; null while it is in flight. */
  readonly settled: number | null;
}

/**
 * The upstream's next window has begun, with a request among those charged to this one. Which of the others in flight
 * it counts there nobody tells, so all of them count, and what they cost less than their estimates is not given
 * back. Not `observed` then: a sample would be too high.
 */
export function turnWindow(
  limit: LimitState,
  rule: LimitRules,
  { settled }: Teller,
  resetAt: Instant,
  now: Instant,
): LimitState {
  const ended = endWindow(limit, rule);
  // Resets are rounded up.
  const startedAt = Math.min(now, resetAt - rule.windowMs);
  const window = openWindow(ended.window, rule, startedAt, false);
  return {
    ...ended,
    window: { ...window, endsAt: resetAt, anchored: true, stated: true },
    used: reservedOf(limit) + (settled ?? 0),
  };
}

/**
 * What a request that outlived its window cost beyond its estimate counts in the present window; where there is none
 * it opens one, that it may end: a closed one never would.
 */
export function openRest(limit: LimitState, rule: LimitRules, now: Instant): LimitState {
  const { window, used, cells } = limit;
  if (window.endsAt !== null || used <= 0) return limit;
  const opened = openWindow(window, rule, now, false);
  const [oldest] = cells;
  if (oldest === undefined) return { ...limit, window: opened };
  return { ...limit, window: { ...opened, startedAt: oldest.at, endsAt: now } };
}

function retreat(limit: LimitState): BudgetState {
  const { budget } = limit;
  const proven = wasRefused(limit) ? budget.current : provenBudget(limit);
  // What the learned limit calls for may lie below the floor.
  const current = proven === null ? null : clampToBounds(budget, proven);
  return current === budget.current ? budget : { ...budget, current };
}

export function budgetFor(rule: LimitRules): BudgetState {
  return {
    current: rule.budget,
    learned: null,
    reference: rule.budget,
    found: null,
    source: rule.budget === null ? 'none' : 'configured',
  };
}

/**
 * The operator changed the budget since this was stored, or took it back: the new one counts, what was learned
 * stays.
 */
function adoptBudget(limit: LimitState, rule: LimitRules): LimitState {
  const { budget } = limit;
  const reference = rule.budget ?? budget.found;
  if (reference === budget.reference) return limit;
  if (budget.learned === null) return { ...limit, budget: budgetFor(rule) };
  // A state of before `found`: whose the reference is, it does not tell.
  if (reference === null) return limit;
  const base = { ...budget, reference };
  return {
    ...limit,
    budget: {
      ...base,
      current: clampToBounds(base, belowLimit(budget.learned, limit.control.agreeing)),
    },
  };
}

/** The same for the length: what was learned is of windows of another one. */
function adoptWindow(limit: LimitState, rule: LimitRules, now: Instant): LimitState {
  const { cells, bucket, window } = limit;
  const { endsAt, lengthMs } = window;
  if (lengthMs === rule.windowMs || (lengthMs === null && endsAt === null)) return limit;
  // These free by the length as it is.
  const rolls = cells.length > 0 || bucket !== null;
  const adopted = rolls ? { ...window, lengthMs: rule.windowMs } : adoptLength(window, rule, now);
  return { ...(lengthMs === null ? limit : unlearn(limit, rule)), window: adopted };
}

/** What was learned is taken back. */
export function unlearn(limit: LimitState, rule: LimitRules): LimitState {
  const { control } = limit;
  const none = { denied: null, fullWindows: 0, full: null, agreeing: 0, accepted: 0 };
  return { ...limit, budget: budgetFor(rule), control: { ...control, ...none } };
}

/**
 * The operator changed the kind: a bucket, which may never end, becomes another window at once, and any other
 * a bucket; what the one held, the other holds. The remaining two wait for their end.
 */
function adoptKind(found: LimitState, rule: LimitRules, now: Instant): LimitState {
  const same = (rule.kind === 'bucket') === (found.bucket !== null);
  if (found.window.endsAt === null || same) return found;
  const limit = freed(found, rule, now);
  const { window, used } = limit;
  if (window.endsAt === null) return limit;
  // What it held was not counted as this kind counts.
  const opened = { ...openWindow(window, rule, now, false), number: window.number };
  if (rule.kind === 'bucket') {
    const history = [{ at: now, amount: used, low: used, full: false }];
    return {
      ...limit,
      window: opened,
      cells: [],
      bucket: { at: now, carry: 0, lowered: 0, history },
      others: 0,
    };
  }
  const cells =
    rule.kind === 'sliding' ? [{ at: now, amount: used, orphaned: limit.orphaned }] : [];
  return { ...limit, window: opened, cells, bucket: null };
}

/** What is over is not held any more. */
function freed(limit: LimitState, rule: LimitRules, now: Instant): LimitState {
  if (limit.cells.length > 0) return slide(limit, rule, now);
  return limit.bucket === null && isOver(limit.window, now) ? endWindow(limit, rule) : limit;
}

/** Takes on what the operator changed of a limit since it was stored. */
export function adoptRules(limit: LimitState, rule: LimitRules, now: Instant): LimitState {
  const resized = adoptWindow(adoptBudget(limit, rule), rule, now);
  return adoptKind(resized, rule, now);
}

/**
 * A limit that left the configuration is kept until its window ends: it may have left by mistake. Where there are too
 * many, those make room whose windows end soonest.
 */
export function dropStale(limits: Limits, rules: readonly LimitRules[], now: Instant): Limits {
  const left = Object.entries(limits).filter(([name]) => !rules.some((rule) => rule.name === name));
  const isEnded = ({ window }: LimitState) => !isOpen(window) || isOver(window, now);
  const kept = left.filter(([, limit]) => !isEnded(limit));
  const many = rules.length + kept.length - BOUNDS.limitsEver;
  const endsAt = ({ window }: LimitState) => window.endsAt ?? 0;
  const soonest = kept
    .toSorted(([, a], [, b]) => endsAt(a) - endsAt(b))
    .slice(0, Math.max(0, many));
  const stale = [...left.filter(([, limit]) => isEnded(limit)), ...soonest];
  if (stale.length === 0) return limits;
  const others = { ...limits };
  for (const [name] of stale) delete others[name];
  return others;
}

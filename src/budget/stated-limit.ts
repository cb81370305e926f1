import type { LimitState, StatedLimit } from '../state/scope-state.js';
import { reservedOf } from './limits.js';
import type { LimitRules } from './settings.js';
import { correct } from './sliding.js';
import { takeFraction } from './stated-fraction.js';

/**
 * Where the upstream states its limit, headers lead: the budget is what it states, from the first answer
 * on, and what others spend of the same limit is charged as `others`.
 *
 * A statement says what the upstream had counted (its level) when it answered. Of our own charge in flight
 * some is in that count and some is not, and nobody tells which. So a statement changes the charge only
 * where it contradicts it:
 *
 *   all that we have charged is less than the level ── others have spent: raised, at once, as if
 *     nothing else in flight were in the level
 *   what surely is in the level is more than it ── lowered, to the level, as far as there are others' or
 *     orphaned charges; never what is settled or in flight
 */

/** One limit as an answer states it; null where it does not. */
export interface Statement {
  /** As the provider names the limit, at most 100 characters. */
  readonly name: string;
  readonly limit: number | null;
  readonly remaining: number | null;
  /** Fraction used, 0 to 1 and above. */
  readonly utilization: number | null;
  /** A window whose use is up: it takes nothing until its reset. */
  readonly rejected: boolean;
}

/** The answer that a statement came with. */
export interface StatementContext {
  /** Number of its request's admission. */
  readonly sequence: number;
  /** What of its request the upstream has counted for certain when it answers. */
  readonly counted: number;
  /** What of that nobody knew before: it may have been taken for others' use. */
  readonly surprise: number;
  /** It is taken later than it came. */
  readonly late: boolean;
}

/** What the upstream had counted lies between these. */
interface Level {
  readonly least: number;
  readonly most: number;
}

/** Anthropic rounds what remains to the nearest thousand tokens (wire facts §1.1). */
const ROUNDED_TO = 1_000;
/** None of its limits is smaller. */
const ROUNDED_FROM = 10_000;
const ABSURD_AMOUNT = 1e15;

/** Takes a statement about the present window of a fixed kind; the same reference if it changes nothing. */
export function takeStatement(
  limit: LimitState,
  statement: Statement,
  context: StatementContext,
): LimitState {
  const { remaining } = statement;
  const newest = isNewest(limit, context);
  if (!isAmount(remaining)) {
    const charged = certainlyCounted(limit, context.counted);
    const stated = takeFraction(limit, statement, { newest, charged, sequence: context.sequence });
    return stated === limit.stated ? limit : { ...limit, stated };
  }
  const total = totalOf(limit, statement, remaining, newest);
  if (total === null) return limit;
  const level = levelOf(total, remaining);
  const most = newest ? Number.POSITIVE_INFINITY : context.surprise;
  const reconciled = reconcile(limit, level, { counted: context.counted, most });
  const stated = restated(limit, total, { ...statement, ...context }, reconciled !== limit);
  return reconciled === limit && stated === limit.stated ? limit : { ...reconciled, stated };
}

/**
 * The same for a window that frees little by little, and for a bucket: what others spent in it and when is not
 * known, so it is only ever raised, by a charge that frees with the newest one. Fractions need a window with a
 * beginning. What is told late of a bucket has drained meanwhile.
 */
export function takeRolling(
  limit: LimitState,
  rule: LimitRules,
  statement: Statement,
  context: StatementContext,
): LimitState {
  const { remaining } = statement;
  const total = isAmount(remaining)
    ? totalOf(limit, statement, remaining, isNewest(limit, context))
    : null;
  if (total === null || remaining === null) return limit;
  const drained = limit.bucket !== null && context.late;
  const missing = drained ? 0 : Math.max(0, levelOf(total, remaining).least - limit.used);
  const stated = restated(limit, total, { ...statement, ...context }, missing > 0);
  if (stated === limit.stated && missing === 0) return limit;
  const newest = limit.cells.at(-1)?.at ?? limit.window.startedAt ?? 0;
  return { ...limit, ...correct(limit, rule, missing, { at: newest, now: newest }), stated };
}

/**
 * The first statement of a window, or one by a request no older than that of the last which changed anything:
 * a long answer may state what was true when it was asked for.
 */
function isNewest({ stated, window }: LimitState, context: StatementContext): boolean {
  const { sequence, late } = context;
  if (stated === null || stated.window !== window.number) return true;
  return !late && sequence >= stated.sequence;
}

/** Settled, orphaned, others', and what this request was counted for: in the level, unless one is wrong. */
function certainlyCounted(limit: LimitState, counted: number): number {
  const reserved = reservedOf(limit);
  return Math.max(0, limit.used - reserved) + Math.min(counted, reserved);
}

/** The limit as stated; where only what remains is, the most that ever did. Null: it makes no sense. */
function totalOf(
  { stated, window }: LimitState,
  { limit }: Statement,
  remaining: number,
  newest: boolean,
): number | null {
  const known = stated?.fraction === null ? stated.limit : null;
  if (limit === null) return Math.max(1, known ?? 0, remaining);
  if (!isAmount(limit) || limit === 0 || remaining > limit) return null;
  // An older answer of this window may only make it tighter.
  return newest || stated?.window !== window.number ? limit : Math.min(limit, known ?? limit);
}

function isAmount(value: number | null): value is number {
  return value !== null && value >= 0 && value <= ABSURD_AMOUNT;
}

function levelOf(total: number, remaining: number): Level {
  const level = total - remaining;
  const isRounded = remaining % ROUNDED_TO === 0 && total >= ROUNDED_FROM;
  const error = isRounded ? ROUNDED_TO / 2 : 0;
  return { least: Math.max(0, level - error), most: level + error };
}

/** Brings the charge into accord with the level; lowers it by `most` at most. */
function reconcile(
  limit: LimitState,
  level: Level,
  { counted, most }: { readonly counted: number; readonly most: number },
): LimitState {
  const included = certainlyCounted(limit, counted);
  const first = limit.stated?.window !== limit.window.number;
  if (limit.used < level.least || (first && included < level.most)) {
    const missing = Math.max(0, level.most - included);
    return { ...limit, used: limit.used + missing, others: limit.others + missing };
  }
  const excess = Math.min(included - level.most, most);
  if (excess <= 0) return limit;
  const fromOthers = Math.min(limit.others, excess);
  const fromOrphaned = Math.min(limit.orphaned, excess - fromOthers);
  if (fromOthers + fromOrphaned <= 0) return limit;
  return {
    ...limit,
    used: limit.used - fromOthers - fromOrphaned,
    others: limit.others - fromOthers,
    orphaned: limit.orphaned - fromOrphaned,
  };
}

/** What is known of the limit now; the same reference if that is nothing new. */
function restated(
  { stated, window }: LimitState,
  limit: number,
  { name, sequence }: Pick<Statement & StatementContext, 'name' | 'sequence'>,
  corrected: boolean,
): StatedLimit {
  const before = stated?.window === window.number && stated.fraction === null ? stated : null;
  if (before !== null && before.limit === limit && !corrected) return before;
  const latest = Math.max(sequence, before?.sequence ?? 0);
  return { name, limit, window: window.number, sequence: latest, fraction: null };
}

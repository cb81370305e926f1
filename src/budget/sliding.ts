import { BOUNDS, type Instant, type LimitState, type WindowCell } from '../state/scope-state.js';
import { forgetDenial } from './charges.js';
import type { LimitRules } from './settings.js';
import { closeWindow } from './window.js';

/**
 * A sliding window: what was charged within its length before now. It is counted in cells, each of which
 * frees as a whole, and only when the youngest charge it may hold is old enough: so our count is never
 * below the upstream's, and at most one cell's length behind it.
 *
 * The window is open while it holds anything: `startedAt` is its oldest cell's begin, `endsAt` when its
 * newest one frees. After a loss `endsAt` stands still, until all that was there has freed.
 */

/** One of the cells is the one that fills. */
function cellMs({ windowMs }: LimitRules): number {
  return Math.ceil(windowMs / (BOUNDS.cells - 2));
}

/** When a cell is free again. */
function freesAt(cell: WindowCell, rule: LimitRules): Instant {
  return cell.at + cellMs(rule) + rule.windowMs;
}

/** Frees the cells that are old enough; the same reference if none is. */
export function slide(limit: LimitState, rule: LimitRules, now: Instant): LimitState {
  const { window } = limit;
  if (window.endsAt === null) return limit;
  const cells = limit.cells.filter((cell) => freesAt(cell, rule) > now);
  const seen = !window.observed && now >= window.endsAt;
  if (cells.length === limit.cells.length && !seen && cells.length > 0) return limit;
  const [oldest] = cells;
  const newest = cells.at(-1);
  if (oldest === undefined || newest === undefined) {
    const closed = closeWindow(window);
    return { ...limit, ...NOTHING, window: closed, control: { ...limit.control, denied: null } };
  }
  const used = sumOf(cells);
  const endsAt = window.observed || seen ? freesAt(newest, rule) : window.endsAt;
  const slid = {
    ...limit,
    cells,
    used,
    orphaned: Math.min(limit.orphaned, used, orphanedIn(cells)),
    window: { ...window, startedAt: oldest.at, endsAt, observed: window.observed || seen },
  };
  return forgetDenial(slid, limit.budget.current);
}

const NOTHING = { cells: [], used: 0, unsettled: {}, orphaned: 0 } as const;

/** Charges `amount` now. Call on a window that `slide` has brought up to now. */
export function chargeCell(limit: LimitState, rule: LimitRules, amount: number, now: Instant) {
  const last = limit.cells.at(-1);
  const cells =
    last !== undefined && now < last.at + cellMs(rule)
      ? [...limit.cells.slice(0, -1), { ...last, amount: last.amount + amount }]
      : [...limit.cells, { at: now, amount, orphaned: 0 }].slice(-BOUNDS.cells);
  const { window } = limit;
  const newest = cells.at(-1) as WindowCell;
  const [oldest] = cells as [WindowCell];
  const endsAt = window.observed || window.endsAt === null ? freesAt(newest, rule) : window.endsAt;
  return { cells, used: sumOf(cells), window: { ...window, startedAt: oldest.at, endsAt } };
}

/** When something was charged, and when that is corrected. */
interface CorrectedAt {
  readonly at: Instant;
  readonly now: Instant;
}

/** Corrects what was charged at `at`. Where that has freed since, only an excess counts, as charged now. */
function correctCell(
  limit: LimitState,
  rule: LimitRules,
  excess: number,
  { at, now }: CorrectedAt,
): Pick<LimitState, 'cells' | 'used' | 'window'> {
  const { cells, window } = limit;
  const own = cells.findLastIndex((cell) => cell.at <= at);
  if (own < 0 || at >= (cells[own]?.at ?? 0) + cellMs(rule)) {
    if (excess <= 0) return limit;
    const charged = chargeCell(limit, rule, excess, now);
    // A closed one is opened by `openRest`.
    return window.endsAt === null ? { ...charged, window } : charged;
  }
  const corrected = cells.map((cell, place) =>
    place === own ? { ...cell, amount: Math.max(0, cell.amount + excess) } : cell,
  );
  return { cells: corrected, used: sumOf(corrected), window };
}

/** When the window has room for `amount` again, if nothing more is charged. */
export function roomAt(
  limit: LimitState,
  rule: LimitRules,
  amount: number,
  budget: number,
  now: Instant,
): Instant {
  let over = limit.used + Math.min(amount, budget) - budget;
  for (const cell of limit.cells) {
    over -= cell.amount;
    if (over <= 0) return Math.max(now, freesAt(cell, rule));
  }
  return now + rule.windowMs;
}

/** What was in flight when its instance died was charged no later than now: it is gone with the newest cell. */
export function orphanInCells(cells: readonly WindowCell[], amount: number): readonly WindowCell[] {
  const newest = cells.at(-1);
  if (newest === undefined) return cells;
  return [...cells.slice(0, -1), { ...newest, orphaned: newest.orphaned + amount }];
}

function orphanedIn(cells: readonly WindowCell[]): number {
  return cells.reduce((sum, { orphaned }) => sum + orphaned, 0);
}

function sumOf(cells: readonly WindowCell[]): number {
  return cells.reduce((sum, { amount }) => sum + amount, 0);
}

/** A limit whose kind was changed keeps to its old one until its window has ended. */
export function isSliding(rule: LimitRules, limit: LimitState): boolean {
  return limit.window.endsAt === null ? rule.kind === 'sliding' : limit.cells.length > 0;
}

/** Adds to what was charged, or takes from it. */
export function correct(
  limit: LimitState,
  rule: LimitRules,
  excess: number,
  when: CorrectedAt,
): Pick<LimitState, 'cells' | 'used' | 'orphaned' | 'window'> {
  const { cells, orphaned, window } = limit;
  if (!isSliding(rule, limit)) {
    return { cells, orphaned, window, used: Math.max(0, limit.used + excess) };
  }
  const corrected = correctCell(limit, rule, excess, when);
  // What was orphaned may have freed with its cell.
  return { ...corrected, orphaned: Math.min(orphaned, corrected.used) };
}

import type { BudgetState } from '../state/scope-state.js';

/** The budget never leaves this fraction of the initial one, whatever is learned. */
const FLOOR = 0.3;
const CEILING = 2;
/** The budget is set this far below the learned limit: estimates err, and others may share it. */
const MARGIN = 0.97;
/** The same once several samples in a row agree on the limit. */
const SURE_MARGIN = 0.985;

/** In the limit's unit; all null while there is no budget. */
export interface BudgetBounds {
  readonly initial: number | null;
  readonly floor: number | null;
  readonly ceiling: number | null;
}

export function boundsOf(budget: BudgetState): BudgetBounds {
  const initial = budget.reference;
  if (initial === null) return { initial, floor: null, ceiling: null };
  return {
    initial,
    floor: Math.max(1, Math.ceil(initial * FLOOR)),
    ceiling: Math.floor(initial * CEILING),
  };
}

export function clampToBounds(budget: BudgetState, amount: number): number {
  const { floor, ceiling } = boundsOf(budget);
  if (floor === null || ceiling === null) return amount;
  return Math.min(ceiling, Math.max(floor, Math.floor(amount)));
}

/** The budget that a limit calls for on which `agreeing` samples in a row agree, before it is clamped. */
export function belowLimit(learned: number, agreeing: number): number {
  return Math.max(1, Math.floor(learned * (agreeing > 1 ? SURE_MARGIN : MARGIN)));
}

import type { Unit } from '../state/scope-state.js';

/** One limit of a scope, as configured. */
export interface LimitRules {
  /** Stable name: the limit's memory is kept under it. */
  readonly name: string;
  readonly unit: Unit;
  readonly kind: WindowKind;
  /** Length of the window, >= 1000 ms. */
  readonly windowMs: number;
  /**
   * Patterns of the models it is about, in lower case, `*` for any characters; at least one. Null: every
   * request's.
   */
  readonly models: readonly string[] | null;
  /** The operator's budget for one window in `unit`, >= 1; null: learn it. */
  readonly budget: number | null;
}

export type WindowKind = 'fixed' | 'sliding' | 'bucket';

/** What the integral controller and its guards are set to. */
export interface ControllerSettings {
  /** One step up, as a fraction of the current budget: 0.03. */
  readonly nudge: number;
  /** At least this long from one step to the next. */
  readonly nudgeEveryMs: number;
  /** No step before this long after the scope's first admission. */
  readonly minTrafficMs: number;
  /** No step unless this fraction of the budget was used in the window: 0.05. */
  readonly minUsed: number;
}

import type { BackoffPolicy } from '../backoff/backoff-policy.js';
import type { BudgetController } from '../budget/budget-controller.js';
import type { CalibrationStore } from '../calibration/calibration-store.js';

/** The three policies that the governor composes. */
export interface Policies {
  readonly budget: BudgetController;
  readonly backoff: BackoffPolicy;
  readonly calibration: CalibrationStore;
}

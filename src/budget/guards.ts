import type { Instant, LimitState } from '../state/scope-state.js';
import { boundsOf } from './bounds.js';
import { FULL } from './full.js';
import { isOnPlateau } from './growth.js';
import { headersLead } from './limits.js';
import type { ControllerSettings, LimitRules } from './settings.js';

/** Why the integral controller did not raise a budget. */
export type Guard =
  | 'no-budget'
  /** The upstream states its limit: there is nothing to find out. */
  | 'stated'
  | 'at-ceiling'
  | 'nudged-lately'
  | 'young-traffic'
  | 'little-used'
  | 'not-in-the-way'
  | 'refused-lately'
  | 'near-limit'
  | 'unobserved'
  | 'cautious'
  | 'crash-loop';

/** What the guards weigh besides the limit itself. */
export interface GuardContext {
  readonly firstAdmittedAt: Instant | null;
  readonly cautious: boolean;
  readonly crashLoop: boolean;
}

/**
 * Anti-windup: the incident's controller took an empty counter for headroom. A raise needs evidence
 * that the budget itself held traffic back, gathered over a window that was seen whole.
 * Returns the first guard that holds the controller back, or null.
 */
export function guardAgainstWindup(
  limit: LimitState,
  rules: LimitRules,
  settings: ControllerSettings,
  context: GuardContext,
  now: Instant,
): Guard | null {
  const { budget, control, window } = limit;
  const { ceiling } = boundsOf(budget);
  if (budget.current === null || ceiling === null) return 'no-budget';
  if (headersLead(limit)) return 'stated';
  if (context.crashLoop) return 'crash-loop';
  if (context.cautious) return 'cautious';
  if (budget.current >= ceiling) return 'at-ceiling';
  if (isWithin(control.nudgedAt, settings.nudgeEveryMs, now)) return 'nudged-lately';
  if (
    context.firstAdmittedAt === null ||
    isWithin(context.firstAdmittedAt, settings.minTrafficMs, now)
  ) {
    return 'young-traffic';
  }
  if (!window.observed) return 'unobserved';
  if (isWithin(control.refusedAt, rules.windowMs, now)) return 'refused-lately';
  if (limit.used < settings.minUsed * budget.current) return 'little-used';
  if (!control.inTheWay && limit.used < FULL * budget.current) return 'not-in-the-way';
  if (isOnPlateau(limit, rules, now)) return 'near-limit';
  return null;
}

function isWithin(at: Instant | null, periodMs: number, now: Instant): boolean {
  return at !== null && now - at < periodMs;
}

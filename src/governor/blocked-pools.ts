import type { Instant } from '../state/scope-state.js';
import {
  conditionUnder,
  type LimitView,
  type ModelView,
  type ScopeCondition,
  type ScopeView,
} from './scope-view.js';

/** Models that are held back for a limit of their own, whether the rest of the scope is or not. */
export interface BlockedPool {
  /** The configured limit with models; null: a model's window that is not configured. */
  readonly limit: string | null;
  /** Patterns of a limit; the one model otherwise. */
  readonly models: readonly string[];
  readonly state: ScopeCondition;
  /** Null in the state `half-open`: as soon as its probe has succeeded. */
  readonly blockedUntil: Instant | null;
  /** The kind of refusal; null where a budget is used up. */
  readonly because: string | null;
}

/** Whoever waits longest comes first. */
export function blockedPools(view: ScopeView): readonly BlockedPool[] {
  const pools = [
    ...view.limits.flatMap((limit) => poolOfLimit(limit, view.now) ?? []),
    ...view.models.map((model) => poolOfModel(model, view.now)),
  ];
  return pools.sort((a, b) => (b.blockedUntil ?? 0) - (a.blockedUntil ?? 0));
}

/** Null: it is about every model, which the scope's own state tells; or nothing holds it back. */
function poolOfLimit(limit: LimitView, now: Instant): BlockedPool | null {
  const { name, models, cooldown, blockedUntil } = limit;
  if (models === null || (cooldown === null && blockedUntil === null)) return null;
  const under = cooldown === null ? null : conditionUnder(cooldown, now);
  // A probe needs room in the budget, too.
  if (cooldown === null || under === null || (under === 'half-open' && blockedUntil !== null)) {
    return { limit: name, models, state: 'exhausted', blockedUntil, because: null };
  }
  return { limit: name, models, state: under, blockedUntil, because: cooldown.kind };
}

function poolOfModel({ model, cooldown }: ModelView, now: Instant): BlockedPool {
  const state = conditionUnder(cooldown, now);
  const blockedUntil = now < cooldown.until ? cooldown.until : null;
  return { limit: null, models: [model], state, blockedUntil, because: cooldown.kind };
}

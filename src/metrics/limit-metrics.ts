import type { LimitView } from '../governor/scope-view.js';
import { inSeconds, type Metric } from './metric.js';

/** The limits of each scope, in their own units. */
export const LIMIT_METRICS: readonly Metric[] = [
  ofLimits(
    'tidegate_limit_used',
    'The whole charge of the window: settled, in flight and orphaned',
    ({ used }) => used,
  ),
  ofLimits(
    'tidegate_limit_reserved',
    'The part of the charge that is in flight',
    ({ reserved }) => reserved,
  ),
  ofLimits(
    'tidegate_limit_orphaned',
    'The part of the charge whose instance died before it settled; it counts until the window ends',
    ({ orphaned }) => orphaned,
  ),
  ofLimits(
    'tidegate_limit_budget',
    'The budget of a window; none while there is none yet',
    ({ budget }) => budget.current,
  ),
  ofLimits(
    'tidegate_limit_budget_floor',
    'The lowest that the budget may be set to; none without a budget',
    ({ budget }) => budget.floor,
  ),
  ofLimits(
    'tidegate_limit_budget_ceiling',
    'The highest that the budget may be set to; none without a budget',
    ({ budget }) => budget.ceiling,
  ),
  ofLimits(
    'tidegate_limit_learned',
    'The limit of the upstream as samples tell it; none before the first that was accepted',
    ({ budget }) => budget.learned,
  ),
  ofLimits('tidegate_limit_window_seconds', 'Configured length of the window', ({ window }) =>
    inSeconds(window.lengthMs),
  ),
  ofLimits(
    'tidegate_limit_window_end_timestamp_seconds',
    'When the window ends, in Unix time; none while no window is open',
    ({ window }) => (window.endsAt === null ? null : inSeconds(window.endsAt)),
  ),
  ofLimits(
    'tidegate_limit_blocked_until_timestamp_seconds',
    'When the requests that the limit is about may pass again, as far as it and its model pool know, in Unix time; 0 if neither holds them back',
    ({ blockedUntil }) => inSeconds(blockedUntil ?? 0),
  ),
  ofLimits(
    'tidegate_limit_rung',
    'Rung of the cooldown of its model pool, or of the scope for a refusal that named it; 0 without one',
    ({ cooldown }) => cooldown?.consecutive ?? 0,
  ),
];

/** A gauge of limits; `read` answers null where there is nothing to tell. */
function ofLimits(name: string, help: string, read: (limit: LimitView) => number | null): Metric {
  return {
    name,
    help,
    type: 'gauge',
    labels: ['scope', 'limit', 'unit'],
    origin: 'state',
    read: ({ views }) =>
      views.flatMap(({ scope, limits }) =>
        limits.flatMap((limit) => {
          const value = read(limit);
          const labels = { scope, limit: limit.name, unit: limit.unit };
          return value === null ? [] : [{ labels, value }];
        }),
      ),
  };
}

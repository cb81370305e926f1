import { type Instant, shifted } from '../state/scope-state.js';
import type { Draft } from './draft.js';
import type { Policies } from './policies.js';
import { mapPools } from './pools.js';

/**
 * Moves every instant that is compared with now by `shiftMs`: back with a clock that went back by more than an hour,
 * forth again when it is set right. Every remaining wait keeps its length. What is only told, such as events and
 * samples, stays as it was.
 */
export function shiftScope(
  draft: Draft,
  { budget, backoff }: Pick<Policies, 'budget' | 'backoff'>,
  shiftMs: number,
): void {
  const moved = (at: Instant | null) => (at === null ? null : shifted(at, shiftMs));
  const { hot, cold, now } = draft;
  mapPools(draft, (pool) => backoff.shiftPool(pool, shiftMs));
  draft.setHot({
    limits: budget.shift(hot.limits, draft.rules, shiftMs),
    backoff: backoff.shift(hot.backoff, shiftMs),
    ramp: hot.ramp && { ...hot.ramp, at: shifted(hot.ramp.at, shiftMs) },
    admittedAt: moved(hot.admittedAt),
    firstAdmittedAt: moved(hot.firstAdmittedAt),
    instances: mapValues(hot.instances, (instance) => ({
      ...instance,
      startedAt: shifted(instance.startedAt, shiftMs),
      seenAt: shifted(instance.seenAt, shiftMs),
      stoppedAt: moved(instance.stoppedAt),
    })),
  });
  // A process knows its own start by its instant. None may lie ahead; that they look old once the clock is set right
  // does no harm, for until then and a window longer the scope is cautious.
  const backMs = Math.min(0, shiftMs);
  draft.setCold({
    estimates: mapValues(cold.estimates, (model) => ({
      ...model,
      usedAt: shifted(model.usedAt, shiftMs),
    })),
    starts: mapValues(cold.starts, (starts) =>
      starts.map((start) => ({ ...start, at: shifted(start.at, backMs) })),
    ),
    guards: mapValues(cold.guards, (told) => ({ ...told, at: shifted(told.at, shiftMs) })),
  });
  const byMs = Math.max(0, (hot.setBack?.byMs ?? 0) - shiftMs);
  draft.setHot({ setBack: byMs === 0 ? null : { byMs, until: lastEnd(draft, now) } });
}

/** When the last of what was moved is over: windows and pauses, whatever they were stated to last. */
function lastEnd({ hot, rules }: Draft, now: Instant): Instant {
  const longestMs = Math.max(...rules.map(({ windowMs }) => windowMs));
  const ends = [now + longestMs];
  for (const { window } of Object.values(hot.limits)) ends.push(window.endsAt ?? 0);
  for (const { cooldown } of [hot.backoff, ...Object.values(hot.pools)]) {
    ends.push(cooldown?.until ?? 0);
  }
  return Math.max(...ends);
}

function mapValues<Value>(
  values: Readonly<Record<string, Value>>,
  change: (value: Value) => Value,
): Readonly<Record<string, Value>> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, change(value)]));
}

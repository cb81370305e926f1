import type { DataPlane } from '../data-plane.js';
import type { CooldownView, LimitView, ModelView, ScopeView } from '../governor/scope-view.js';
import { rfc3339 } from '../platform/clock.js';

/** The body of `GET /status`, a contract (docs/reference/http.md): times RFC 3339, durations in ms. */
export interface Status {
  readonly version: string;
  readonly instance: string;
  readonly startedAt: string;
  readonly store: { readonly kind: string; readonly id: string; readonly healthy: boolean };
  readonly crashLoop: boolean;
  readonly recentStarts: number;
  readonly scopes: readonly ScopeStatus[];
}

type ScopeStatus = ReturnType<typeof scopeStatus>;

export function statusOf(plane: DataPlane, version: string, views: readonly ScopeView[]): Status {
  const { healthy, id } = plane.repository.health();
  return {
    version,
    instance: plane.config.instance,
    startedAt: rfc3339(plane.startedAt),
    store: { kind: plane.repository.kind, id, healthy },
    crashLoop: views.some(({ starts }) => starts.crashLoop),
    recentStarts: Math.max(0, ...views.map(({ starts }) => starts.recent)),
    scopes: views.map(scopeStatus),
  };
}

function scopeStatus(view: ScopeView) {
  const { scope, state, calibration, counters } = view;
  return {
    scope,
    state,
    blockedUntil: rfc3339(view.blockedUntil),
    cooldown: cooldownStatus(view.cooldown),
    limits: view.limits.map(limitStatus),
    models: view.models.map(modelStatus),
    missingLimits: view.missing,
    calibration: {
      accepted: calibration.accepted,
      discarded: calibration.discarded,
      samples: calibration.samples.map(({ at, tokens, accepted, reason }) => ({
        at: rfc3339(at),
        tokens,
        accepted,
        reason,
      })),
    },
    upstream: {
      requests: counters.upstreamRequests,
      refused429: counters.upstream429,
      overloaded: counters.upstreamOverloaded,
    },
    local: { admitted: counters.admitted, refused: counters.refused },
  };
}

function limitStatus(limit: LimitView) {
  const { name, unit, models, window, budget, used, reserved, orphaned, remaining } = limit;
  const { kind, lengthMs, startedAt, endsAt, observed } = window;
  const { initial, floor, ceiling, current, learned, source } = budget;
  return {
    name,
    unit,
    models,
    cooldown: cooldownStatus(limit.cooldown),
    blockedUntil: rfc3339(limit.blockedUntil),
    window: {
      kind,
      lengthMs,
      startedAt: rfc3339(startedAt),
      endsAt: rfc3339(endsAt),
      observed,
    },
    budget: { initial, floor, ceiling, current, learned, source },
    used,
    reserved,
    orphaned,
    remaining,
  };
}

function modelStatus({ model, cooldown }: ModelView) {
  return { model, cooldown: cooldownStatus(cooldown) };
}

function cooldownStatus(cooldown: CooldownView | null) {
  if (cooldown === null) return null;
  const { until, since, kind, episode, consecutive } = cooldown;
  return { until: rfc3339(until), since: rfc3339(since), kind, episode, consecutive };
}

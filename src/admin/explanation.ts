import type { LimitGrounds } from '../history/grounds.js';
import type { FoundRefusal } from '../history/refusal-ledger.js';
import { rfc3339 } from '../platform/clock.js';
import { viewEvent } from './told-event.js';

/** The body of `GET /explain/<request id>`, a contract (docs/reference/http.md): times RFC 3339. */
export type Explanation = ReturnType<typeof viewExplanation>;

/** @param probeEveryMs How often what lasts longer than this is tried all the same; 0: never. */
export function viewExplanation(
  requestId: string,
  { scope, grounds }: FoundRefusal,
  probeEveryMs: number,
) {
  const { decision, at, until, model, limit, pool, reason, cooldown, overload, cautious } = grounds;
  const { began, episode } = grounds;
  const statedWaitMs = began?.details['statedWaitMs'];
  const isTried = (lastsMs: number) => probeEveryMs > 0 && lastsMs > probeEveryMs;
  return {
    requestId,
    scope: scope === '' ? null : scope,
    model,
    decision,
    /** When the figures were taken: at most a second before the refusal. */
    at: rfc3339(at),
    blockedUntil: rfc3339(until),
    limit,
    pool,
    reason,
    /** There was room, for requests that had been refused before. */
    promised: grounds.promised ?? false,
    limits: grounds.limits.map((each) => viewLimit(scope, each, at, probeEveryMs)),
    cooldown: cooldown && {
      since: rfc3339(cooldown.since),
      until: rfc3339(cooldown.until),
      kind: cooldown.kind,
      limit: cooldown.limit,
      episode,
      consecutive: cooldown.rung,
      /** The request that the upstream refused. */
      requestId: began?.requestId ?? null,
      statedWaitMs: typeof statedWaitMs === 'number' ? statedWaitMs : null,
      /** How often one request looks before its end; null: it is too short for that, or none does. */
      triedEveryMs: isTried(cooldown.until - cooldown.since) ? probeEveryMs : null,
    },
    probesOut: grounds.probesOut,
    /** Requests that were in flight, and how many may be while admission ramps up. */
    ramp: grounds.ramp ?? null,
    overload: overload && {
      since: rfc3339(overload.since),
      until: rfc3339(overload.until),
      consecutive: overload.rung,
    },
    cautious: cautious && {
      since: rfc3339(cautious.since),
      until: rfc3339(cautious.until),
      reason: cautious.reason,
      allowance: cautious.allowance,
    },
  };
}

function viewLimit(scope: string, limit: LimitGrounds, at: number, probeEveryMs: number) {
  const { name, unit, used, reserved, orphaned, others, budget, source, sample, moved } = limit;
  const { windowKind, windowMs, windowStartedAt, windowEndsAt, endStated, patience } = limit;
  const everyMs = probeEveryMs * (patience ?? 0);
  return {
    name,
    unit,
    used,
    reserved,
    orphaned,
    others,
    remaining: budget === null ? null : budget - used,
    budget: {
      current: budget,
      source,
      configured: limit.configured,
      learned: limit.learned,
      floor: limit.floor,
      ceiling: limit.ceiling,
      /** The limit of the upstream's headers that it follows, as those name it. */
      statedAs: limit.statedAs,
      /** The newest accepted sample of this limit. */
      sample: sample && { at: rfc3339(sample.at), tokens: sample.tokens },
      /** What moved it last, as far as the state remembered. */
      moved: moved && viewEvent({ scope, ...moved }),
      /** How often one request is let beyond it while it is used up; null: none is. */
      triedEveryMs: everyMs > 0 && (windowEndsAt ?? 0) - at > everyMs ? everyMs : null,
    },
    window: {
      kind: windowKind,
      lengthMs: windowMs,
      startedAt: rfc3339(windowStartedAt),
      endsAt: rfc3339(windowEndsAt),
      endStated,
    },
  };
}

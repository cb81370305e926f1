import { boundsOf } from '../budget/bounds.js';
import { limitOf } from '../budget/limits.js';
import type { LimitRules } from '../budget/settings.js';
import { figuresOf } from '../governor/event-records.js';
import { bindingRamp } from '../governor/held-back.js';
import { patienceFor } from '../governor/routine-looks.js';
import type {
  BackoffState,
  CautiousState,
  EpisodeState,
  EventRecord,
  Instant,
  LimitFigures,
  ScopeState,
} from '../state/scope-state.js';

/** A request that Tidegate refused itself, as it is told of by the proxy. */
export interface NotedRefusal {
  readonly requestId: string;
  /** Null: refused before it was looked for. */
  readonly scope: string | null;
  readonly model: string;
  readonly decision: string;
  readonly until: Instant;
  /** When it was decided, by the clock that decides. */
  readonly at: Instant;
  /** The limit whose budget it was, for `budget`. */
  readonly limit: string | null;
  /** Only requests of this limit's models, or of this model, were held back. */
  readonly pool: string | null;
  /** See Denial. */
  readonly promised: boolean;
  /** What the decision weighed; null where it could not be had. */
  readonly state: ScopeState | null;
  /** In words, for a decision without figures. */
  readonly reason: string | null;
}

/**
 * Why requests were refused: the figures of one decision, shared by all that were refused for the same
 * reason within about a second. Instants in epoch ms.
 */
export interface Grounds {
  readonly decision: string;
  /** When the figures were taken. */
  readonly at: Instant;
  readonly until: Instant;
  readonly model: string;
  readonly limit: string | null;
  readonly pool: string | null;
  readonly reason: string | null;
  /** Absent in entries of before. */
  readonly promised?: boolean;
  readonly limits: readonly LimitGrounds[];
  readonly cooldown: BackoffState['cooldown'];
  readonly episode: number;
  readonly overload: BackoffState['overload'] | null;
  readonly probesOut: number;
  /** What held a `probing` request back that no cooldown did; absent in entries of before. */
  readonly ramp?: { readonly allowance: number; readonly inFlight: number } | null;
  readonly cautious: CautiousState | null;
  /** The event with which the present cooldown began, or climbed. */
  readonly began: EventRecord | null;
}

export interface LimitGrounds extends LimitFigures {
  readonly name: string;
  readonly unit: LimitRules['unit'];
  readonly windowKind: LimitRules['kind'];
  readonly windowMs: number;
  readonly windowStartedAt: Instant | null;
  /** The window's end was stated by the upstream. */
  readonly endStated: boolean;
  /** The limit in the upstream's headers that the budget follows, as it names it; null: none is stated. */
  readonly statedAs: string | null;
  readonly learned: number | null;
  readonly floor: number | null;
  readonly ceiling: number | null;
  readonly configured: number | null;
  /** The newest accepted sample of the limit. */
  readonly sample: { readonly at: Instant; readonly tokens: number } | null;
  /** The event that last moved the budget, as far as the state remembers. */
  readonly moved: EventRecord | null;
  /**
   * In how many intervals of the configuration one request is let beyond it; null: none is. Absent in entries of
   * before.
   */
  readonly patience?: number | null;
}

export function groundsOf(refusal: NotedRefusal, rules: readonly LimitRules[]): Grounds {
  const { decision, at, until, model, limit, pool, promised, reason, state } = refusal;
  const told = { decision, at, until, model, limit, pool, promised, reason };
  if (state === null) {
    const nothing = { cooldown: null, episode: 0, overload: null, probesOut: 0, ramp: null };
    return { ...told, ...nothing, limits: [], cautious: null, began: null };
  }
  const { cautious } = state.hot;
  const { overload } = state.hot.backoff;
  const ladder = ladderOf(state, pool);
  return {
    ...told,
    limits: rules.flatMap((rule) => limitGrounds(state, rule)),
    cooldown: ladder.cooldown,
    episode: ladder.episode,
    overload: at < overload.until ? overload : null,
    probesOut: ladder.probes.length,
    ramp: decision === 'probing' && pool === null ? bindingRamp(state.hot, at) : null,
    cautious,
    began: beganWith(state, ladder, pool),
  };
}

/** Refusals of one key are told to have the same grounds. */
export function keyOfRefusal(refusal: NotedRefusal): string {
  const { scope, decision, limit, pool, promised, model, state, reason } = refusal;
  const ladder = state === null ? null : ladderOf(state, pool);
  const budget = limit === null ? undefined : state?.hot.limits[limit]?.budget.current;
  const { episode, cooldown } = ladder ?? {};
  const parts = [
    scope,
    decision,
    limit,
    pool,
    promised,
    model,
    episode,
    cooldown?.until,
    budget,
    reason,
  ];
  return parts.join('\n');
}

/** The scope's ladder, or the pool's: see governor/pools.ts for its names. */
function ladderOf({ hot }: ScopeState, pool: string | null): EpisodeState {
  if (pool === null) return hot.backoff;
  return hot.pools[`limit:${pool}`] ?? hot.pools[`model:${pool}`] ?? hot.backoff;
}

function limitGrounds(state: ScopeState, rule: LimitRules): LimitGrounds[] {
  const figures = figuresOf(state, rule.name);
  if (figures === null) return [];
  const { window, budget, stated, control } = limitOf(state.hot.limits, rule.name);
  const { floor, ceiling } = boundsOf(budget);
  const sample = state.cold.calibration.samples.findLast(
    ({ limit, accepted }) => accepted && limit === rule.name,
  );
  const moved = state.cold.events.findLast(
    ({ kind, limit }) => limit === rule.name && kind.startsWith('budget-'),
  );
  return [
    {
      ...figures,
      name: rule.name,
      unit: rule.unit,
      windowKind: rule.kind,
      windowMs: rule.windowMs,
      windowStartedAt: window.startedAt,
      endStated: window.stated,
      statedAs: stated?.name ?? null,
      learned: budget.learned,
      floor,
      ceiling,
      configured: rule.budget,
      sample: sample === undefined ? null : { at: sample.at, tokens: sample.tokens },
      moved: moved ?? null,
      patience: patienceFor(state.hot, rule, control.denied?.amount ?? 1),
    },
  ];
}

function beganWith(
  { cold }: ScopeState,
  { cooldown, episode }: EpisodeState,
  pool: string | null,
): EventRecord | null {
  if (cooldown === null) return null;
  const began = cold.events.findLast(
    ({ kind, details }) =>
      (kind === 'cooldown-began' || kind === 'cooldown-climbed') &&
      details['episode'] === episode &&
      details['pool'] === pool,
  );
  return began ?? null;
}

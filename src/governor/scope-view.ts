import { boundsOf } from '../budget/bounds.js';
import { emptyAt } from '../budget/bucket.js';
import { roomFor } from '../budget/kinds.js';
import {
  effectiveBudget,
  hasStatedRoom,
  isExhausted,
  limitOf,
  reservedOf,
  sourceOf,
} from '../budget/limits.js';
import type { LimitRules, WindowKind } from '../budget/settings.js';
import { limitPool, modelOf } from './pools.js';
import type {
  BudgetSource,
  CautiousState,
  Counters,
  EpisodeState,
  InstanceStart,
  Instant,
  LimitState,
  Sample,
  Unit,
} from '../state/scope-state.js';
import type { Draft } from './draft.js';
import type { GuardsHeld } from './events.js';
import type { MissingLimit } from './missing-limits.js';
import { isCrashLoop, recentStarts, uncleanStarts } from './instances.js';

/** A scope as it stands now: what /status, health and metrics tell. Instants in epoch ms. */
export interface ScopeView {
  readonly scope: string;
  /** When it was looked at, by the store's clock. */
  readonly now: Instant;
  readonly state: ScopeCondition;
  /** When metered requests may pass again, as far as it is known; null if nothing blocks them. */
  readonly blockedUntil: Instant | null;
  readonly cooldown: CooldownView | null;
  readonly limits: readonly LimitView[];
  /** Models that the upstream refuses for a window of their own which is not configured. */
  readonly models: readonly ModelView[];
  /** Limits that the upstream refused for since the process started, and that no configured one is about. */
  readonly missing: readonly MissingLimit[];
  readonly calibration: {
    readonly accepted: number;
    readonly discarded: number;
    /** Oldest first. */
    readonly samples: readonly Sample[];
    /** Samples lie below the operator's floor, again and again. */
    readonly belowFloorInARow: number;
  };
  /** Number of the latest episode, 0 before the first. */
  readonly episode: number;
  readonly counters: Counters;
  readonly cautious: CautiousState | null;
  /** Of the instance that asks. */
  readonly starts: StartsView;
  /** What held each limit's budget back at the last look of the scheduled job. */
  readonly guards: GuardsHeld;
}

export type ScopeCondition =
  'open' | 'cooldown' | 'half-open' | 'exhausted' | 'terminal' | 'cautious';

export interface CooldownView {
  readonly since: Instant;
  readonly until: Instant;
  readonly kind: string;
  readonly episode: number;
  /** The rung, from 1. */
  readonly consecutive: number;
}

export interface ModelView {
  /** In lower case. */
  readonly model: string;
  readonly cooldown: CooldownView;
}

export interface LimitView {
  readonly name: string;
  readonly unit: Unit;
  /** Patterns of the models that it is about; null: every request's. */
  readonly models: readonly string[] | null;
  /** A pool's own; or the scope's, where the refusal named this limit. */
  readonly cooldown: CooldownView | null;
  /** When the requests that it is about may pass again, as far as it and its pool know. */
  readonly blockedUntil: Instant | null;
  readonly window: {
    readonly kind: WindowKind;
    readonly lengthMs: number;
    readonly startedAt: Instant | null;
    readonly endsAt: Instant | null;
    readonly observed: boolean;
  };
  readonly budget: {
    readonly initial: number | null;
    readonly floor: number | null;
    readonly ceiling: number | null;
    readonly current: number | null;
    readonly learned: number | null;
    readonly source: BudgetSource;
  };
  readonly used: number;
  readonly reserved: number;
  readonly orphaned: number;
  /** May be negative: a request can cost more than its estimate. */
  readonly remaining: number | null;
}

export interface StartsView {
  /** Starts in the last two hours. */
  readonly recent: number;
  readonly unclean: number;
  readonly crashLoop: boolean;
}

/** What the instance that looks knows besides. */
type Onlooker = Pick<ScopeView, 'guards' | 'missing'> & { readonly instance: string };

/** `draft` holds the scope, brought up to its `now`. */
export function viewScope(
  draft: Draft,
  scope: string,
  { instance, guards, missing }: Onlooker,
): ScopeView {
  const { hot, cold, now, rules } = draft;
  const cautious = hot.cautious !== null;
  // What binds some models only is told under its limit: the others pass.
  const exhausted = rules.filter(
    ({ name, models }) => models === null && refuses(limitOf(hot.limits, name), cautious),
  );
  const cooldown = viewCooldown(draft);
  const starts = cold.starts[instance] ?? [];
  return {
    scope,
    now,
    state: conditionOf(draft, cooldown, exhausted.length > 0),
    blockedUntil: blockedUntil(draft, cooldown, exhausted),
    cooldown,
    limits: rules.map((rule) => viewLimit(draft, rule, cooldown)),
    models: viewModels(draft),
    missing,
    calibration: cold.calibration,
    episode: hot.backoff.episode,
    counters: hot.counters,
    cautious: hot.cautious,
    starts: viewStarts(starts, now),
    guards,
  };
}

/** Requests wait for room, and not only for one another. */
function refuses(limit: LimitState, cautious: boolean): boolean {
  return isExhausted(limit, cautious) && !hasStatedRoom(limit, limit.control.denied?.amount ?? 1);
}

function viewStarts(starts: readonly InstanceStart[], now: Instant): StartsView {
  return {
    recent: recentStarts(starts, now),
    unclean: uncleanStarts(starts, now),
    crashLoop: isCrashLoop(starts, now),
  };
}

/** A pause for overload is shown as a cooldown of that kind: it, too, keeps requests out until then. */
function viewCooldown({ hot, now }: Draft): CooldownView | null {
  const { overload } = hot.backoff;
  const cooldown = viewEpisode(hot.backoff);
  if (cooldown !== null) return cooldown;
  if (now >= overload.until) return null;
  const { since, until, number, rung } = overload;
  return { since, until, kind: 'overload', episode: number, consecutive: rung };
}

function viewEpisode({ cooldown, episode }: EpisodeState): CooldownView | null {
  if (cooldown === null) return null;
  const { since, until, kind, rung } = cooldown;
  return { since, until, kind, episode, consecutive: rung };
}

function viewModels({ hot }: Draft): readonly ModelView[] {
  return Object.entries(hot.pools).flatMap(([pool, state]) => {
    const model = modelOf(pool);
    const cooldown = viewEpisode(state);
    return model === null || cooldown === null ? [] : [{ model, cooldown }];
  });
}

/** What a cooldown makes of a scope or pool. */
export function conditionUnder({ kind, until }: CooldownView, now: Instant): ScopeCondition {
  if (kind === 'terminal') return 'terminal';
  return now < until ? 'cooldown' : 'half-open';
}

function conditionOf(
  { hot, now }: Draft,
  cooldown: CooldownView | null,
  exhausted: boolean,
): ScopeCondition {
  const under = cooldown === null ? null : conditionUnder(cooldown, now);
  // A probe needs room in the budget, too.
  if (under !== null && !(under === 'half-open' && exhausted)) return under;
  if (exhausted) return 'exhausted';
  return hot.cautious === null ? 'open' : 'cautious';
}

/** When a request like those that the budget refused lately would pass. */
function freesAt(limit: LimitState, rule: LimitRules, { hot, now }: Draft): Instant {
  const budget = effectiveBudget(limit, hot.cautious !== null);
  const amount = limit.control.denied?.amount ?? 1;
  return budget === null ? now : roomFor(limit, rule, amount, budget, now);
}

function blockedUntil(
  draft: Draft,
  cooldown: CooldownView | null,
  exhausted: readonly LimitRules[],
): Instant | null {
  const { hot, now } = draft;
  const ends = exhausted.map((rule) => freesAt(limitOf(hot.limits, rule.name), rule, draft));
  if (cooldown !== null && now < cooldown.until) ends.push(cooldown.until);
  return ends.length === 0 ? null : Math.max(...ends);
}

function viewLimit(draft: Draft, rule: LimitRules, ofScope: CooldownView | null): LimitView {
  const { hot } = draft;
  const pool = hot.pools[limitPool(rule.name)];
  const named = hot.backoff.cooldown?.limit === rule.name ? ofScope : null;
  const cooldown = (pool === undefined ? null : viewEpisode(pool)) ?? named;
  const limit = limitOf(hot.limits, rule.name);
  const current = effectiveBudget(limit, hot.cautious !== null);
  const { startedAt, observed } = limit.window;
  const inFlight = reservedOf(limit);
  const { bucket } = limit;
  // A bucket's window is over when it is empty; ours goes on a while, to remember.
  const endsAt =
    bucket === null
      ? limit.window.endsAt
      : emptyAt(limit, rule, effectiveBudget(limit, hot.cautious !== null), draft.now);
  const { learned } = limit.budget;
  return {
    name: rule.name,
    unit: rule.unit,
    models: rule.models,
    cooldown,
    blockedUntil: blockedUntil(
      draft,
      cooldown,
      refuses(limit, hot.cautious !== null) ? [rule] : [],
    ),
    window: { kind: rule.kind, lengthMs: rule.windowMs, startedAt, endsAt, observed },
    budget: { ...boundsOf(limit.budget), current, learned, source: sourceOf(limit) },
    used: limit.used,
    reserved: bucket === null ? inFlight : Math.min(inFlight, limit.used),
    orphaned: limit.orphaned,
    remaining: current === null ? null : current - limit.used,
  };
}

import type { EpisodeTicket, Gate, Role, Ticket } from '../backoff/backoff-policy.js';
import type { Charge } from '../budget/budget-controller.js';
import { amountIn, type Cost } from '../budget/cost.js';
import { hasStatedRoom, limitOf } from '../budget/limits.js';
import { rulesFor } from '../budget/model-pools.js';
import { type Amounts, type Promises, wantedFrom } from '../budget/promised.js';
import type { LimitRules } from '../budget/settings.js';
import type {
  CautiousState,
  EpisodeState,
  HotState,
  Instant,
  ModelEstimate,
  ScopeState,
} from '../state/scope-state.js';
import type { Draft } from './draft.js';
import { climbsRamp, endIdleTime, holdOf } from './held-back.js';
import { countInFlight, inFlight } from './instances.js';
import type { Policies } from './policies.js';
import {
  limitPool,
  modelOf,
  type PoolKey,
  type PoolGate,
  poolGates,
  poolName,
  poolOf,
  type PoolTickets,
  roleBeside,
  setPool,
} from './pools.js';
import { exceedsOwnBudget, routineProbeIsDue } from './routine-looks.js';
import { freshen, makeRoomFor } from './upkeep.js';

/** The durable side of a request on its way; kept by the governor until it settles. */
export interface Grant {
  readonly sequence: number;
  /** By the store's clock. */
  readonly admittedAt: Instant;
  /** Empty if unknown. */
  readonly model: string;
  readonly ticket: Ticket;
  /** For each of its model pools that had been refused before. */
  readonly pools: PoolTickets;
  readonly charge: Charge;
  /** See Estimate. */
  readonly coldTokens: number;
  /** The first success has news for the scope: an episode, a pause, a window or caution hang on it. */
  readonly awaited: boolean;
}

/** The answer to it is what others wait for. */
export function isProbe({ ticket, pools }: Pick<Grant, 'ticket' | 'pools'>): boolean {
  return [ticket, ...Object.values(pools)].some(({ role }) => role !== 'ordinary');
}

export type RefusedDecision = 'cooldown' | 'budget' | 'probing' | 'terminal' | 'overload';

export interface Denial {
  readonly decision: RefusedDecision;
  readonly until: Instant;
  readonly now: Instant;
  /** The limit whose budget is used up, or whose model pool is held back. */
  readonly limit: string | null;
  /** Only requests of some models are held back: those of this limit, or of this model. */
  readonly pool: string | null;
  /** What is left of that budget is promised to requests that came before. */
  readonly promised: boolean;
}

export type AdmitOutcome =
  | { readonly kind: 'admitted'; readonly grant: Grant; readonly observed: Denial | null }
  | {
      /** `soon`: it was promised room for now, and it may be worth waiting for. */
      readonly kind: 'refused' | 'soon';
      readonly denial: Denial;
      /** What the decision was made on, for whoever asks why. */
      readonly weighed: ScopeState;
      /** What it will be charged when it comes back and has its turn; null: it has none. */
      readonly wanted: Amounts | null;
    }
  /** For a moment only: it is worth waiting for. */
  | { readonly kind: 'held'; readonly denial: Denial; readonly weighed: ScopeState };

export interface AdmitRequest {
  readonly cost: Cost;
  /** See Estimate. */
  readonly coldTokens: number;
  /** Empty if unknown: it is charged to the limits of every model then. */
  readonly model: string;
  /** To those that come before it. */
  readonly promises: Promises;
  readonly instance: string;
  /** Observe mode: what would be refused passes, charged and counted. */
  readonly observe: boolean;
}

/** What died with its process while cautious keeps its place for this long, as a probe does. */
const LOST_PLACE_MS = 10_000;

/** What others wait while the one request that cautious mode allows is in flight. */
const CAUTIOUS_WAIT_MS = 1_000;

/** What those are told that were held back for longer than they should wait. */
const HELD_WAIT_MS = 1_000;

/** Cooldown, then budget; then the charge. */
export function admit(draft: Draft, policies: Policies, request: AdmitRequest): AdmitOutcome {
  const found = draft.state;
  freshen(draft, policies);
  const fresh = draft.state;
  const rules = rulesFor(draft.rules, request.model);
  const gates: Gates = {
    scope: policies.backoff.gate(draft.hot.backoff, draft.now),
    pools: poolGates(draft, policies, request.model),
  };
  const closed = closedBy(draft, rules, gates);
  if (closed !== null && !request.observe) return refusal(draft, closed, fresh, found, null);

  const cautious = draft.hot.cautious !== null;
  const { cost, instance, promises } = request;
  const chargeRequest = { cost, instance, cautious, promises };
  const { budget } = policies;
  const tried = budget.charge(draft.hot.limits, rules, chargeRequest, draft.now);
  if (tried.outcome.kind === 'charged') {
    const hold = isOpen(gates) && !request.observe ? holdOf(draft, rules) : null;
    if (hold !== null) return held(draft, hold.limit);
    draft.setHot({ limits: tried.limits });
    const roles = closed === null ? rolesAt(gates) : allAre(gates, 'bystander');
    return grant(draft, policies, request, roles, tried.outcome.charge, closed);
  }

  const { limit, until, full, promised } = tried.outcome;
  // A cooldown decides first, in observe mode too.
  const denial: Denial = closed ?? {
    decision: 'budget',
    until,
    now: draft.now,
    limit,
    pool: null,
    promised,
  };
  const due =
    closed === null &&
    rules.every(
      (rule) =>
        !full.includes(rule.name) ||
        isLookedInto(draft, gates, rule, request.cost) ||
        routineProbeIsDue(draft, policies, rule, amountIn(rule.unit, request.cost)),
    );
  const roomy =
    closed === null &&
    !due &&
    rules.every((rule) => !full.includes(rule.name) || hasRoom(draft, rule, request.cost));
  // Its answer will say how much room there is.
  if (roomy && inFlight(draft.hot) > 0 && !request.observe) return held(draft, limit);
  draft.setHot({ limits: tried.limits });
  const passes = due || roomy;
  if (!passes && !request.observe) {
    const wanted = wantedFrom(draft.hot.limits, rules, chargeRequest, full);
    return refusal(draft, denial, fresh, found, wanted);
  }
  const forced = budget.force(draft.hot.limits, rules, chargeRequest, draft.now);
  draft.setHot({
    limits: due ? budget.noteProbe(forced.limits, rules, full, draft.now) : forced.limits,
  });
  const roles = roomy ? rolesAt(gates) : allAre(gates, due ? 'routine' : 'bystander');
  return grant(draft, policies, request, roles, forced.outcome.charge, passes ? null : denial);
}

/** It may pass in a moment. */
function held(draft: Draft, limit: string | null): AdmitOutcome {
  const until = draft.now + HELD_WAIT_MS;
  const denial: Denial = {
    decision: 'probing',
    until,
    now: draft.now,
    pool: null,
    limit,
    promised: false,
  };
  return { kind: 'held', denial, weighed: draft.state };
}

/** The refusal of who was promised room in a bucket for now: it comes later, for what was in flight cost more than was thought. */
export function soon(outcome: AdmitOutcome): AdmitOutcome {
  if (outcome.kind !== 'refused' || outcome.wanted === null) return outcome;
  return { ...outcome, kind: 'soon' };
}

/** A refusal writes nothing, unless it has news: that time has passed is found again, however often. */
function refusal(
  draft: Draft,
  denial: Denial,
  fresh: ScopeState,
  found: ScopeState,
  wanted: Amounts | null,
): AdmitOutcome {
  const weighed = draft.state;
  if (weighed === fresh && draft.events.length === 0) draft.state = found;
  return { kind: 'refused', denial, weighed, wanted };
}

interface Gates {
  readonly scope: Gate;
  readonly pools: readonly PoolGate[];
}

function isOpen({ scope, pools }: Gates): boolean {
  return scope.kind === 'open' && pools.every(({ gate }) => gate.kind === 'open');
}

/** What the request is on each ladder. */
interface Roles {
  readonly scope: Role;
  readonly pools: Readonly<Record<string, Role>>;
}

function rolesAt({ scope, pools }: Gates): Roles {
  const role = roleFor(scope, 'ordinary');
  return {
    scope: role,
    pools: Object.fromEntries(pools.map(({ pool, gate }) => [pool, roleFor(gate, role)])),
  };
}

function allAre({ pools }: Gates, role: Role): Roles {
  return { scope: role, pools: Object.fromEntries(pools.map(({ pool }) => [pool, role])) };
}

function roleFor(gate: Gate, beside: Role): Role {
  if (gate.kind === 'probe' || gate.kind === 'routine') return gate.kind;
  return roleBeside(beside);
}

/** Of several gates that are closed, the one that opens last. */
function closedBy(draft: Draft, rules: readonly LimitRules[], gates: Gates): Denial | null {
  const { now, hot } = draft;
  let closed: Denial | null = null;
  for (const { pool, gate } of [{ pool: null, gate: gates.scope }, ...gates.pools]) {
    if (gate.kind !== 'closed' || (closed !== null && gate.until <= closed.until)) continue;
    const name = pool === null ? null : poolName(pool);
    const limit = pool === null || modelOf(pool) !== null ? null : name;
    const { decision, until } = gate;
    closed = { decision, until, now, limit, pool: name, promised: false };
  }
  if (closed !== null) return closed;
  if (hot.cautious === null) return null;
  const hasBudget = rules.some(({ name }) => limitOf(hot.limits, name).budget.current !== null);
  if (hasBudget || inFlight(hot) < cautiousAllowance(hot, hot.cautious, now)) return null;
  const until = now + CAUTIOUS_WAIT_MS;
  return { decision: 'budget', until, now, limit: null, pool: null, promised: false };
}

/** Without a budget: how many may be in flight; where all of them died unanswered, one, in a while. */
function cautiousAllowance(
  { admittedAt }: HotState,
  { allowance }: CautiousState,
  now: Instant,
): number {
  const overdue = admittedAt === null || now - admittedAt >= LOST_PLACE_MS;
  return allowance === 0 && overdue ? 1 : allowance;
}

/**
 * The hourly look at a long cooldown is due, and it is about this limit: it passes over whatever else says that
 * the limit is used up, for the refusal itself will have said so, and over no operator's own budget. That of a
 * pool's cooldown is about the pool's limit alone.
 */
function isLookedInto(
  draft: Draft,
  { scope, pools }: Gates,
  rule: LimitRules,
  cost: Cost,
): boolean {
  // A bucket has room again in a moment.
  if (rule.kind === 'bucket') return false;
  if (exceedsOwnBudget(draft.hot, rule, amountIn(rule.unit, cost))) return false;
  const own = pools.find(({ pool }) => pool === limitPool(rule.name));
  return scope.kind === 'routine' || own?.gate.kind === 'routine';
}

/**
 * The budget is inferred from a fraction, and used up; the fraction itself says that there is room. So requests go one
 * at a time, each answer says it anew, and so the budget is soon known better. Others' use may have made a
 * per cent look far too cheap.
 */
function hasRoom(draft: Draft, rule: LimitRules, cost: Cost): boolean {
  const amount = amountIn(rule.unit, cost);
  const fits = hasStatedRoom(limitOf(draft.hot.limits, rule.name), amount);
  return fits && !exceedsOwnBudget(draft.hot, rule, amount);
}

function grant(
  draft: Draft,
  policies: Policies,
  { instance, model, coldTokens }: AdmitRequest,
  roles: Roles,
  charge: Charge,
  observed: Denial | null,
): AdmitOutcome {
  endIdleTime(draft);
  makeRoomFor(draft, policies, instance);
  const { hot, now } = draft;
  const sequence = hot.sequence + 1;
  const ticket = policies.backoff.ticket(hot.backoff, roles.scope);
  const probe = { sequence, instance };
  draft.setHot({ backoff: takeRole(draft, policies, hot.backoff, roles.scope, probe, null) });
  const pools: Record<string, EpisodeTicket> = {};
  for (const [pool, role] of Object.entries(roles.pools)) {
    const state = poolOf(draft, pool);
    pools[pool] = policies.backoff.poolTicket(state, role);
    setPool(draft, pool, takeRole(draft, policies, state, role, probe, pool));
  }
  const admitted = hot.counters.admitted + 1;
  const refused = hot.counters.refused + (observed === null ? 0 : 1);
  draft.setHot({
    sequence,
    firstAdmittedAt: hot.firstAdmittedAt ?? now,
    admittedAt: now,
    counters: { ...hot.counters, admitted, refused },
  });
  const one = { inFlight: 1, guessed: 1, coldTokens } as const;
  draft.setHot({ instances: countInFlight(draft.hot.instances, instance, one, draft.now) });
  const awaited =
    isProbe({ ticket, pools }) ||
    hot.cautious !== null ||
    climbsRamp(draft) ||
    hot.backoff.overload.rung > 0 ||
    Object.keys(charge).some((name) => !limitOf(draft.hot.limits, name).window.anchored);
  return {
    kind: 'admitted',
    grant: { sequence, admittedAt: now, model, ticket, pools, charge, coldTokens, awaited },
    observed,
  };
}

/** The ladder as it is once the request has gone out in that role. */
function takeRole<State extends EpisodeState>(
  draft: Draft,
  { backoff }: Policies,
  state: State,
  role: Role,
  { sequence, instance }: { readonly sequence: number; readonly instance: string },
  pool: PoolKey | null,
): State {
  if (role !== 'probe' && role !== 'routine') return state;
  // On a ladder beside the one that is probed, there is nothing to find out.
  if (pool !== null && state.cooldown === null) return state;
  draft.report({ kind: 'probe-taken', role, pool: pool === null ? null : poolName(pool) });
  return role === 'probe'
    ? backoff.takeProbe(state, sequence, instance, draft.now)
    : backoff.noteRoutineProbe(state, draft.now);
}

/** Local refusals are counted apart from the decision, many at a time: a refusal writes nothing. */
export function countRefusals(draft: Draft, count: number): void {
  const { counters } = draft.hot;
  draft.setHot({ counters: { ...counters, refused: counters.refused + count } });
}

/** A client chooses the model's name, and `constructor` is one that every object has. */
export function learnedBefore({ cold }: Draft, model: string): ModelEstimate | undefined {
  return Object.hasOwn(cold.estimates, model) ? cold.estimates[model] : undefined;
}

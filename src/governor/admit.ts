import type { Gate, Ticket } from '../backoff/backoff-policy.js';
import type { Charge } from '../budget/budget-controller.js';
import { amountIn, type Cost } from '../budget/cost.js';
import { limitOf, wasRefused } from '../budget/limits.js';
import { rulesFor } from '../budget/model-pools.js';
import type { LimitRules } from '../budget/settings.js';
import type { Instant, ModelEstimate } from '../state/scope-state.js';
import type { Draft } from './draft.js';
import { countInFlight, inFlight } from './instances.js';
import type { Policies } from './policies.js';
import { freshen, latest } from './upkeep.js';

/** The durable side of a request on its way; kept by the governor until it settles. */
export interface Grant {
  readonly sequence: number;
  /** By the store's clock. */
  readonly admittedAt: Instant;
  readonly ticket: Ticket;
  readonly charge: Charge;
  /** The first success has news for the scope: an episode, a pause, a window or caution hang on it. */
  readonly awaited: boolean;
}

export type RefusedDecision = 'cooldown' | 'budget' | 'probing' | 'terminal' | 'overload';

export interface Denial {
  readonly decision: RefusedDecision;
  readonly until: Instant;
  readonly now: Instant;
  /** The limit whose budget is used up, for `budget`. */
  readonly limit: string | null;
}

export type AdmitOutcome =
  | { readonly kind: 'admitted'; readonly grant: Grant; readonly observed: Denial | null }
  | { readonly kind: 'refused'; readonly denial: Denial };

export interface AdmitRequest {
  readonly cost: Cost;
  /** Empty if unknown: it is charged to the limits of every model then. */
  readonly model: string;
  readonly instance: string;
  /** Observe mode: what would be refused passes, charged and counted. */
  readonly observe: boolean;
}

/** What others wait while the one request that cautious mode allows is in flight. */
const CAUTIOUS_WAIT_MS = 1_000;

/**
 * Where the upstream has refused nothing in this window, the budget alone stands in the way, a little below
 * the limit: a probe then is likely to meet the limit itself, and looks this much less often.
 */
const UNREFUSED_PATIENCE = 4;

/** Cooldown, then budget; then the charge. */
export function admit(draft: Draft, policies: Policies, request: AdmitRequest): AdmitOutcome {
  freshen(draft, policies);
  const rules = rulesFor(draft.rules, request.model);
  const gate = policies.backoff.gate(draft.hot.backoff, draft.now);
  const closed = closedBy(draft, rules, gate);
  if (closed !== null && !request.observe) return { kind: 'refused', denial: closed };

  const cautious = draft.hot.cautious !== null;
  const chargeRequest = { cost: request.cost, instance: request.instance, cautious };
  const { budget } = policies;
  const tried = budget.charge(draft.hot.limits, rules, chargeRequest, draft.now);
  if (tried.outcome.kind === 'charged') {
    const role = closed === null ? roleFor(gate) : 'bystander';
    draft.setHot({ limits: tried.limits });
    return grant(draft, policies, request, role, tried.outcome.charge, closed);
  }

  const { limit, until, full } = tried.outcome;
  // A cooldown decides first, in observe mode too.
  const denial: Denial = closed ?? { decision: 'budget', until, now: draft.now, limit };
  const due =
    closed === null &&
    rules.every(
      (rule) => !full.includes(rule.name) || routineProbeIsDue(draft, policies, rule, request.cost),
    );
  draft.setHot({ limits: tried.limits });
  if (!due && !request.observe) return { kind: 'refused', denial };
  const forced = budget.force(draft.hot.limits, rules, chargeRequest, draft.now);
  draft.setHot({
    limits: due ? budget.noteProbe(forced.limits, rules, full, draft.now) : forced.limits,
  });
  const role = due ? 'routine' : 'bystander';
  return grant(draft, policies, request, role, forced.outcome.charge, due ? null : denial);
}

function closedBy(draft: Draft, rules: readonly LimitRules[], gate: Gate): Denial | null {
  const { now, hot } = draft;
  if (gate.kind === 'closed') {
    return { decision: gate.decision, until: gate.until, now, limit: null };
  }
  if (hot.cautious === null) return null;
  const hasBudget = rules.some(({ name }) => limitOf(hot.limits, name).budget.current !== null);
  if (hasBudget || inFlight(hot) < hot.cautious.allowance) return null;
  return { decision: 'budget', until: now + CAUTIOUS_WAIT_MS, now, limit: null };
}

function roleFor(gate: Gate): Ticket['role'] {
  if (gate.kind === 'probe' || gate.kind === 'routine') return gate.kind;
  return 'ordinary';
}

/**
 * Exhaustion by a budget that was learned is looked into from time to time, for upstream quotas get
 * reset early. One by the operator's own budget is not: nothing learned ever loosens that. Where several
 * limits are exhausted, it must be due for each of them.
 */
function routineProbeIsDue(
  draft: Draft,
  policies: Policies,
  rule: LimitRules,
  cost: Cost,
): boolean {
  const { probeEveryMs } = policies.backoff.settings;
  const limit = limitOf(draft.hot.limits, rule.name);
  const { budget, control, used } = limit;
  if (probeEveryMs <= 0 || budget.source !== 'learned') return false;
  if (rule.budget !== null && used + amountIn(rule.unit, cost) > rule.budget) return false;
  const since = latest(control.denied?.at ?? null, control.probedAt);
  const everyMs = wasRefused(limit) ? probeEveryMs : UNREFUSED_PATIENCE * probeEveryMs;
  return control.denied !== null && since !== null && draft.now - since >= everyMs;
}

function grant(
  draft: Draft,
  { backoff }: Policies,
  { instance }: AdmitRequest,
  role: Ticket['role'],
  charge: Charge,
  observed: Denial | null,
): AdmitOutcome {
  const { hot, now } = draft;
  const sequence = hot.sequence + 1;
  const ticket = backoff.ticket(hot.backoff, role);
  if (role === 'probe' || role === 'routine') {
    const taken =
      role === 'probe'
        ? backoff.takeProbe(hot.backoff, sequence, instance, now)
        : backoff.noteRoutineProbe(hot.backoff, now);
    draft.setHot({ backoff: taken });
    draft.report({ kind: 'probe-taken', role });
  }
  const admitted = hot.counters.admitted + 1;
  const refused = hot.counters.refused + (observed === null ? 0 : 1);
  draft.setHot({
    sequence,
    firstAdmittedAt: hot.firstAdmittedAt ?? now,
    counters: { ...hot.counters, admitted, refused },
  });
  draft.setHot({ instances: countInFlight(draft.hot.instances, instance, 1, draft.now) });
  const awaited =
    role !== 'ordinary' ||
    hot.cautious !== null ||
    hot.backoff.overload.rung > 0 ||
    Object.keys(charge).some((name) => !limitOf(draft.hot.limits, name).window.anchored);
  return {
    kind: 'admitted',
    grant: { sequence, admittedAt: now, ticket, charge, awaited },
    observed,
  };
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

import type { Charge } from '../budget/budget-controller.js';
import { amountIn, countedOf, NO_COST, type Cost } from '../budget/cost.js';
import { mapLimits } from '../budget/limits.js';
import type { LimitRules } from '../budget/settings.js';
import { openRest } from '../budget/turnover.js';
import { leastNeeded } from '../calibration/model-table.js';
import { corrected, isInSample, settleInSample } from '../calibration/sample.js';
import { BOUNDS, type ModelEstimate, type PendingSample } from '../state/scope-state.js';
import type { Grant } from './admit.js';
import type { Draft } from './draft.js';
import { countInFlight, type InFlightChange } from './instances.js';
import type { Policies } from './policies.js';
import { mapPools, mapSamples } from './pools.js';
import { takeStatements, type Told } from './statements.js';
import { closeCompleteSamples, freshen } from './upkeep.js';

export interface AmendRequest {
  readonly grant: Grant;
  readonly estimate: Cost;
  readonly instance: string;
  /** Its input was not known before. */
  readonly guessed: boolean;
  readonly told: Told;
}

/** Better figures came while the request is in flight. Returns the amended charge. */
export function amend(draft: Draft, policies: Policies, request: AmendRequest): Charge {
  freshen(draft, policies);
  const { grant, estimate, instance, told } = request;
  if (request.guessed) noteInFlight(draft, request, { inFlight: 0, guessed: -1 });
  const { charge } = grant;
  const { hot, rules, now } = draft;
  const amended = policies.budget.amend(hot.limits, rules, charge, estimate, instance, now);
  draft.setHot({ limits: amended.limits });
  mapSamples(draft, (sample) => amendSample(sample, grant, amended.outcome));
  const stating = { ...grant, charge: amended.outcome, counted: countedOf(estimate), cost: null };
  takeStatements(draft, policies, stating, told);
  return amended.outcome;
}

/** What the settlement will correct is measured from the amended charge, so the sample takes this part now. */
function amendSample(sample: PendingSample, grant: Grant, amended: Charge): PendingSample {
  if (sample.limit === null || grant.sequence > sample.sequence) return sample;
  const before = grant.charge[sample.limit];
  const after = amended[sample.limit];
  if (before === undefined || after === undefined || before.amount === after.amount) return sample;
  if (!isInSample(sample, before.window, before.at)) return sample;
  return { ...sample, tokens: corrected(sample, after.amount - before.amount) };
}

/** Nothing new came but what the upstream states of its limits. */
export function tell(
  draft: Draft,
  policies: Policies,
  { grant, estimate, told }: Omit<AmendRequest, 'instance' | 'guessed'>,
): void {
  freshen(draft, policies);
  takeStatements(draft, policies, { ...grant, counted: countedOf(estimate), cost: null }, told);
}

export interface SettleRequest {
  readonly grant: Grant;
  readonly actual: Cost;
  /** The answer came to its end. */
  readonly whole: boolean;
  readonly instance: string;
  /** Its input was not known before it ended. */
  readonly guessed: boolean;
  /** What was learned about the model, when it is time to keep it. */
  readonly estimate: { readonly model: string; readonly learned: ModelEstimate } | null;
  readonly told: Told;
}

/** The request is over: its estimate gives way to its cost. */
export function settle(draft: Draft, policies: Policies, request: SettleRequest): void {
  const { grant, actual, instance, estimate } = request;
  freshen(draft, policies);
  const { hot, rules, now } = draft;
  const { counters } = hot;
  const upstreamRequests = counters.upstreamRequests + actual.requests;
  const backoff = policies.backoff.abandoned(hot.backoff, grant.sequence);
  draft.setHot({
    limits: policies.budget.settle(hot.limits, rules, grant.charge, actual, instance, now),
    backoff: request.whole ? policies.backoff.finished(backoff, now) : backoff,
    counters: actual.requests > 0 ? { ...counters, upstreamRequests } : counters,
  });
  mapPools(draft, (pool) => policies.backoff.abandoned(pool, grant.sequence));
  noteInFlight(draft, request, { inFlight: -1, guessed: request.guessed ? -1 : 0 });
  // What it cost is settled by now, and so no longer to be counted apart.
  takeStatements(draft, policies, { ...grant, counted: NO_COST, cost: actual }, request.told);
  openRests(draft);
  mapSamples(draft, (sample) => settleSample(sample, rules, grant, actual));
  closeCompleteSamples(draft, policies);
  if (estimate !== null) keepEstimate(draft, estimate.model, estimate.learned);
}

function noteInFlight(
  draft: Draft,
  { grant, instance }: Pick<AmendRequest, 'grant' | 'instance'>,
  by: Pick<InFlightChange, 'inFlight' | 'guessed'>,
): void {
  const change = { ...by, coldTokens: grant.coldTokens };
  draft.setHot({ instances: countInFlight(draft.hot.instances, instance, change, draft.now) });
}

function keepEstimate(draft: Draft, model: string, learned: ModelEstimate): void {
  let kept = Object.entries(draft.cold.estimates);
  if (!Object.hasOwn(draft.cold.estimates, model) && kept.length >= BOUNDS.models) {
    const least = leastNeeded(kept, draft.now);
    if (least === null) return;
    kept = kept.filter(([name]) => name !== least);
  }
  draft.setCold({ estimates: { ...Object.fromEntries(kept), [model]: learned } });
}

/**
 * Whether a settlement was durable can't be known. Repeating what exceeds the charge may count it
 * twice, which is safe; repeating a refund is not. A window numbered 0 never was, so the excess goes
 * into the present one and nothing is taken out of flight again.
 */
export function repeatExcess(draft: Draft, policies: Policies, request: SettleRequest): void {
  const { grant, actual, instance } = request;
  freshen(draft, policies);
  const charge: Record<string, Charge[string]> = {};
  for (const [name, entry] of Object.entries(grant.charge)) charge[name] = { ...entry, window: 0 };
  const { hot, rules, now } = draft;
  const limits = policies.budget.settle(hot.limits, rules, charge, actual, instance, now);
  draft.setHot({ limits });
  openRests(draft);
}

/**
 * What it cost beyond its estimate may lie in a window that nothing has opened: it must end, too. Not left to the
 * next look: one that refuses writes nothing.
 */
function openRests(draft: Draft): void {
  const { hot, rules, now } = draft;
  const limits = mapLimits(hot.limits, rules, (limit, rule) => openRest(limit, rule, now));
  draft.setHot({ limits });
}

/**
 * The charge to go on with when it can't be known whether an amendment was durable: the lower one, for
 * what the settlement adds is measured from it.
 */
export function lowerCharge(charge: Charge, rules: readonly LimitRules[], estimate: Cost): Charge {
  const lower: Record<string, Charge[string]> = {};
  for (const { name, unit } of rules) {
    const entry = charge[name];
    if (entry === undefined) continue;
    lower[name] = { ...entry, amount: Math.min(entry.amount, amountIn(unit, estimate)) };
  }
  return lower;
}

/** Whether the cost is more than what was charged, in any limit. */
export function exceedsCharge(charge: Charge, rules: readonly LimitRules[], cost: Cost): boolean {
  return rules.some(({ name, unit }) => {
    const entry = charge[name];
    return entry !== undefined && amountIn(unit, cost) > entry.amount;
  });
}

function settleSample(
  sample: PendingSample,
  rules: readonly LimitRules[],
  grant: Grant,
  actual: Cost,
): PendingSample {
  if (grant.sequence > sample.sequence) return sample;
  const rule = rules.find(({ name }) => name === sample.limit);
  const entry = rule === undefined ? undefined : grant.charge[rule.name];
  const counted = entry !== undefined && isInSample(sample, entry.window, entry.at);
  const correction = rule !== undefined && counted ? amountIn(rule.unit, actual) - entry.amount : 0;
  return settleInSample(sample, correction);
}

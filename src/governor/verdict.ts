import { cooldownKind, type RefusalFacts } from '../backoff/refusal.js';
import { beginRamp, climbRamp } from '../backoff/ramp.js';
import type { Charge } from '../budget/budget-controller.js';
import type {
  EpisodeTicket,
  Overload,
  RefusalOutcome,
  RefusalVerdict,
} from '../backoff/backoff-policy.js';
import { NO_COST } from '../budget/cost.js';
import { limitOf } from '../budget/limits.js';
import { confirmSample } from '../calibration/sample.js';
import type { ChargeEntry } from '../budget/kinds.js';
import { chargedOf } from '../budget/model-pools.js';
import type { LimitRules } from '../budget/settings.js';
import { isUnderWay } from '../budget/window.js';
import type { Cooldown, CooldownKind, EpisodeState, Instant } from '../state/scope-state.js';
import type { Grant } from './admit.js';
import {
  attribute,
  type Attribution,
  type LimitStatement,
  type StatedLimit,
} from './attribution.js';
import type { Draft } from './draft.js';
import { inFlight } from './instances.js';
import type { Policies } from './policies.js';
import {
  type Ladder,
  makeRoom,
  poolName,
  poolOf,
  refusedPool,
  sampleOf,
  setPool,
  setSample,
  ticketFor,
} from './pools.js';
import { takeStatements } from './statements.js';
import { closeCompleteSamples, closeSample, freshen } from './upkeep.js';

/** The doubling allowance of cautious mode ends here. */
const MOST_ALLOWANCE = 1_024;

export interface UpstreamSuccess {
  readonly instance: string;
  /** Its headers say something of the limits. */
  readonly stated: boolean;
}

/** The upstream answered 2xx. Returns the charge, which a reopened window may have moved. */
export function succeed(
  draft: Draft,
  policies: Policies,
  grant: Grant,
  success: UpstreamSuccess,
): Charge {
  const { instance, stated } = success;
  freshen(draft, policies);
  const { budget, backoff } = policies;
  const before = draft.hot.backoff;
  const verdict = backoff.succeeded(before, grant.ticket, grant.sequence);
  draft.setHot({
    backoff: verdict.backoff,
    limits: budget.anchor(draft.hot.limits, draft.rules, grant.charge, grant.admittedAt),
  });
  climb(draft, grant);
  let { charge } = grant;
  const reopen = ({ cooldown }: EpisodeState) => {
    charge = reopenWindow(draft, policies, cooldown, charge, { ...grant, instance });
  };
  if (verdict.outcome) {
    endEpisode(draft, policies, null, before);
    if (grant.ticket.role === 'routine') reopen(before);
  }
  for (const [pool, ticket] of Object.entries(grant.pools)) {
    const state = poolOf(draft, pool);
    const { backoff: ended, outcome } = backoff.poolSucceeded(state, ticket, grant.sequence);
    setPool(draft, pool, ended);
    if (!outcome) continue;
    endEpisode(draft, policies, pool, state);
    if (ticket.role === 'routine') reopen(state);
  }
  relaxCaution(draft, stated);
  return charge;
}

/** A probe succeeded. `before`: the ladder as it stood. */
function endEpisode(
  draft: Draft,
  policies: Policies,
  ladder: Ladder,
  { episode, cooldown }: EpisodeState,
): void {
  const pool = ladder === null ? null : poolName(ladder);
  draft.setHot({ ramp: beginRamp(inFlight(draft.hot), cooldown?.kind ?? null, draft.now) });
  draft.report({ kind: 'episode-ended', episode, rungs: cooldown?.rung ?? 0, pool });
  // A refusal that said nothing of its kind was no quota's.
  if (sampleOf(draft, ladder)?.confirmed === false) closeSample(draft, policies, ladder);
}

/**
 * A routine probe ended an episode: the upstream has reset the limit that the refusal was attributed to, early.
 * Of the others it says nothing, and of that one neither if it was no quota's. After any other success the refusal
 * before it said nothing about the window, and to begin it anew would part it from the upstream's.
 */
function reopenWindow(
  draft: Draft,
  { budget }: Policies,
  cooldown: Cooldown | null,
  charge: Charge,
  { admittedAt, instance }: { readonly admittedAt: Instant; readonly instance: string },
): Charge {
  if (cooldown === null || !speaksOfQuota(cooldown.kind)) return charge;
  // States of before know only of what was named.
  const blamed = cooldown.blamed ?? cooldown.limit;
  const rules = draft.rules.filter(({ name }) => name === blamed);
  const reopened = budget.reopen(draft.hot.limits, rules, charge, instance, admittedAt);
  for (const { name } of rules) {
    if (charge[name] === reopened.outcome[name]) continue;
    draft.report({ kind: 'window-reopened', limit: name });
  }
  draft.setHot({ limits: reopened.limits });
  return reopened.outcome;
}

/** Success lets more through at once while admission ramps up. */
function climb(draft: Draft, { admittedAt }: Grant): void {
  const { ramp } = draft.hot;
  if (ramp !== null) draft.setHot({ ramp: climbRamp(ramp, admittedAt, draft.now) });
}

/** A limit header tells more than we lost; without a budget each success doubles what may be in flight. */
function relaxCaution(draft: Draft, stated: boolean): void {
  const { cautious } = draft.hot;
  if (cautious === null) return;
  if (stated) {
    draft.setHot({ cautious: null });
    draft.report({ kind: 'cautious-ended', by: 'limit-header' });
  } else if (cautious.allowance < MOST_ALLOWANCE) {
    draft.setHot({ cautious: { ...cautious, allowance: Math.max(1, cautious.allowance) * 2 } });
  }
}

export interface UpstreamRefusal extends RefusalFacts {
  /** HTTP status of the answer. */
  readonly status: number;
  /** Limits it names as exceeded. */
  readonly limits: readonly StatedLimit[];
  readonly statements: readonly LimitStatement[];
  /** In [0, 1). */
  readonly jitter: number;
}

/** The grant of a request that was accepted and is refused in its answer. */
export function accepted(draft: Draft, { backoff }: Policies, grant: Grant): Grant {
  const pools = Object.entries(grant.pools).map(
    ([pool, ticket]) => [pool, backoff.opened(ticket, poolOf(draft, pool))] as const,
  );
  const ticket = backoff.opened(grant.ticket, draft.hot.backoff);
  return { ...grant, ticket, pools: Object.fromEntries(pools) };
}

/** The upstream answered 429, or refused with another status. */
export function refuse(
  draft: Draft,
  policies: Policies,
  grant: Grant,
  refusal: UpstreamRefusal,
): void {
  freshen(draft, policies);
  const { hot, now } = draft;
  const rules = chargedOf(draft.rules, grant.charge);
  const blame = blameFor(draft, refusal, rules, grant.charge);
  const ladder = ladderOf(draft, refusal, rules, grant.model);
  const windowMs = windowMsOf(rules, blame.limit, refusal.limits);
  const kind = cooldownKind(refusal, windowMs);
  const { statedWaitMs, jitter } = refusal;
  const limit = refusal.limits.length > 0 ? blame.limit : null;
  const told = { kind, statedWaitMs, limit, blamed: blame.limit, jitter };
  const { cooldown: before } = stateOf(draft, ladder);
  const outcome = refuseOn(draft, policies, ladder, grant, told);
  const { counters } = hot;
  const upstream429 = counters.upstream429 + (refusal.status === 429 ? 1 : 0);
  draft.setHot({ counters: { ...counters, upstream429 } });
  if (hot.cautious !== null && refusal.statements.length > 0) relaxCaution(draft, true);
  // Before the sample: what others have spent is part of what the limit was met with.
  const stated = { statements: refusal.statements, surprise: NO_COST, late: false };
  takeStatements(draft, policies, { ...grant, counted: NO_COST, cost: 'refused' }, stated);

  if (kind === 'quota' && blame.limit !== null && outcome !== 'ignored') {
    stateEndOfQuota(draft, policies, grant.charge, blame.limit, statedWaitMs);
  }
  if (outcome === 'noted' && kind === 'transient') {
    draft.report({ kind: 'transient-refusal' });
  }
  noteRefusal(draft, policies, ladder, grant.charge, kind, blame);
  if (outcome !== 'began' && outcome !== 'climbed') {
    return reportRestated(draft, ladder, before);
  }
  reportCooldown(draft, ladder, outcome, statedWaitMs);
  if (kind === 'transient' || kind === 'terminal') return;
  if (outcome === 'began') beginSample(draft, policies, ladder, kind, blame);
  else climbInSample(draft, policies, ladder, kind, blame);
  if (blame.limit === null || !speaksOfQuota(kind)) return;
  const cautious = draft.hot.cautious !== null;
  draft.setHot({
    limits: policies.budget.noteFull(draft.hot.limits, rules, blame.limit, cautious, now),
  });
}

/** Whether a refusal of this kind is, for all we know, about what a limit has granted in all. */
function speaksOfQuota(kind: CooldownKind): boolean {
  return kind === 'quota' || kind === 'unknown';
}

/**
 * What the guards remember: every refusal, also one that decides no episode. One that comes after its window counts
 * from its charge on, for the present window has not been refused.
 */
function noteRefusal(
  draft: Draft,
  { budget }: Policies,
  ladder: Ladder,
  charge: Charge,
  kind: CooldownKind,
  { limit: blamed }: Attribution,
): void {
  if (kind === 'transient' || kind === 'terminal') return;
  // A model's own window that is not configured says nothing about those that are.
  if (ladder !== null && blamed === null) return;
  for (const rule of chargedOf(draft.rules, charge)) {
    const entry = charge[rule.name];
    if (entry === undefined || (blamed !== null && blamed !== rule.name)) continue;
    const at = isPresent(draft, rule.name, entry) ? draft.now : entry.at;
    draft.setHot({ limits: budget.noteRefusal(draft.hot.limits, [rule], rule.name, at) });
  }
}

/** Whether the window that it was charged to is under way. */
function isPresent({ hot }: Draft, name: string, { window }: ChargeEntry): boolean {
  return isUnderWay(limitOf(hot.limits, name).window, window);
}

function blameFor(
  draft: Draft,
  { limits, statements }: UpstreamRefusal,
  rules: readonly LimitRules[],
  charge: Charge,
): Attribution {
  const blame = attribute(limits, statements, draft.hot.limits, rules);
  const entry = blame.limit === null ? undefined : charge[blame.limit];
  if (blame.limit === null || entry === undefined) return blame;
  return isPresent(draft, blame.limit, entry) ? blame : { ...blame, reason: 'other-window' };
}

/** The ladder that a refusal is about: a model pool's where it says so, else the whole scope's. */
function ladderOf(
  draft: Draft,
  { limits, statements }: UpstreamRefusal,
  rules: readonly LimitRules[],
  model: string,
): Ladder {
  const pool = refusedPool(limits, statements, rules, model);
  return pool !== null && makeRoom(draft, pool) ? pool : null;
}

/** The other ladders learn nothing: a probe of theirs makes room for the next one. */
function refuseOn(
  draft: Draft,
  { backoff }: Policies,
  ladder: Ladder,
  { ticket, pools, sequence }: Grant,
  told: RefusalVerdict,
): RefusalOutcome {
  const { now, hot } = draft;
  if (ladder === null) {
    const verdict = backoff.refused(hot.backoff, ticket, sequence, told, now);
    draft.setHot({ backoff: verdict.backoff });
    return verdict.outcome;
  }
  draft.setHot({ backoff: backoff.abandoned(hot.backoff, sequence) });
  const noted: EpisodeTicket = ticketFor(pools, ladder, ticket.role);
  const verdict = backoff.poolRefused(poolOf(draft, ladder), noted, sequence, told, now);
  setPool(draft, ladder, verdict.backoff);
  return verdict.outcome;
}

/** The window that a short wait is measured against; without a limit to blame, the one named, or the longest. */
function windowMsOf(
  rules: readonly LimitRules[],
  name: string | null,
  named: readonly StatedLimit[],
): number {
  const rule = rules.find((candidate) => candidate.name === name);
  // What frees little by little is refused with short waits itself.
  if (rule?.kind === 'sliding' || rule?.kind === 'bucket') return 0;
  if (rule !== undefined) return rule.windowMs;
  return named[0]?.windowMs ?? Math.max(0, ...rules.map(({ windowMs }) => windowMs));
}

/**
 * A quota's stated wait is a statement of when the window ends. One that is under way ends a length from now at the
 * latest: beyond it another limit is meant, or it is a mistake, which a cooldown can be cleared of and a window not.
 */
function stateEndOfQuota(
  draft: Draft,
  { budget }: Policies,
  charge: Charge,
  name: string,
  statedWaitMs: number | null,
): void {
  const entry = charge[name];
  const rule = draft.rules.find((candidate) => candidate.name === name);
  if (statedWaitMs === null || entry === undefined || rule === undefined) return;
  const resetAt = draft.now + Math.min(statedWaitMs, rule.windowMs);
  draft.setHot({
    limits: budget.stateReset(draft.hot.limits, name, entry.window, resetAt, draft.now),
  });
}

/** A routine probe's refusal may move the end of the cooldown. */
function reportRestated(draft: Draft, ladder: Ladder, before: Cooldown | null): void {
  const { cooldown } = stateOf(draft, ladder);
  if (cooldown === null || before === null || cooldown.until === before.until) return;
  const { until, limit } = cooldown;
  const pool = ladder === null ? null : poolName(ladder);
  draft.report({ kind: 'cooldown-restated', until, limit, pool });
}

function reportCooldown(
  draft: Draft,
  ladder: Ladder,
  outcome: 'began' | 'climbed',
  statedWaitMs: number | null,
): void {
  const { cooldown, episode } = stateOf(draft, ladder);
  if (cooldown === null) return;
  draft.report({
    kind: outcome === 'began' ? 'cooldown-began' : 'cooldown-climbed',
    refusal: cooldown.kind,
    episode,
    rung: cooldown.rung,
    until: cooldown.until,
    limit: cooldown.limit,
    pool: ladder === null ? null : poolName(ladder),
    statedWaitMs,
  });
}

function stateOf(draft: Draft, ladder: Ladder): EpisodeState {
  return ladder === null ? draft.hot.backoff : poolOf(draft, ladder);
}

function beginSample(
  draft: Draft,
  policies: Policies,
  ladder: Ladder,
  kind: CooldownKind,
  blame: Attribution,
): void {
  const { hot, now } = draft;
  // One that still waits for settlements of an earlier episode is judged as it stands.
  closeSample(draft, policies, ladder);
  const rule = draft.rules.find(({ name }) => name === blame.limit);
  const context = {
    episode: stateOf(draft, ladder).episode,
    kind,
    limit: blame.limit,
    reason: blame.reason,
    sequence: hot.sequence,
    inFlight: inFlight(hot),
    measured: rule === undefined ? null : policies.budget.measure(hot.limits, rule, now),
  };
  const limit = blame.limit === null ? null : limitOf(draft.hot.limits, blame.limit);
  setSample(draft, ladder, policies.calibration.open(context, limit, now));
  closeCompleteSamples(draft, policies);
}

function climbInSample(
  draft: Draft,
  policies: Policies,
  ladder: Ladder,
  kind: CooldownKind,
  blame: Attribution,
): void {
  const sample = sampleOf(draft, ladder);
  if (sample?.confirmed === false) {
    setSample(draft, ladder, confirmSample(sample, { kind, ...blame }));
    closeCompleteSamples(draft, policies);
    return;
  }
  const tokens = blame.limit === null ? 0 : limitOf(draft.hot.limits, blame.limit).used;
  const climb = { episode: stateOf(draft, ladder).episode, limit: blame.limit, tokens };
  const calibration = policies.calibration.recordClimb(draft.cold.calibration, climb, draft.now);
  draft.setCold({ calibration });
}

/** The upstream is out of capacity for everyone: 529, 503, or an in-stream `overloaded_error`. */
export function overload(draft: Draft, policies: Policies, grant: Grant, told: Overload): void {
  freshen(draft, policies);
  const { hot, now } = draft;
  const { backoff, outcome } = policies.backoff.overloaded(
    hot.backoff,
    grant.ticket,
    grant.sequence,
    told,
    now,
  );
  const { counters } = hot;
  const upstreamOverloaded = counters.upstreamOverloaded + 1;
  draft.setHot({ backoff, counters: { ...counters, upstreamOverloaded } });
  if (outcome) {
    const { rung, until } = backoff.overload;
    draft.report({ kind: 'overload-pause', rung, until });
  }
}

import { cooldownKind, speaksOfWindow, type RefusalFacts } from '../backoff/refusal.js';
import type { Charge } from '../budget/budget-controller.js';
import { limitOf } from '../budget/limits.js';
import { chargedOf } from '../budget/model-pools.js';
import type { LimitRules } from '../budget/settings.js';
import type { CooldownKind } from '../state/scope-state.js';
import type { Grant } from './admit.js';
import {
  attribute,
  ruleFor,
  type Attribution,
  type LimitStatement,
  type StatedLimit,
} from './attribution.js';
import type { Draft } from './draft.js';
import { inFlight } from './instances.js';
import type { Policies } from './policies.js';
import { closeSample, closeSampleIfComplete, freshen } from './upkeep.js';

/** The doubling allowance of cautious mode ends here. */
const MOST_ALLOWANCE = 1_024;

/** The upstream answered 2xx. Returns the charge, which a reopened window may have moved. */
export function succeed(
  draft: Draft,
  policies: Policies,
  grant: Grant,
  instance: string,
  statements: readonly LimitStatement[],
): Charge {
  freshen(draft, policies);
  const { budget, backoff } = policies;
  const rungs = draft.hot.backoff.cooldown?.rung ?? 0;
  const verdict = backoff.succeeded(draft.hot.backoff, grant.ticket, grant.sequence);
  draft.setHot({
    backoff: verdict.backoff,
    limits: budget.anchor(draft.hot.limits, draft.rules, grant.charge, grant.admittedAt),
  });
  if (verdict.outcome) {
    draft.report({ kind: 'episode-ended', episode: draft.hot.backoff.episode, rungs });
    const { pendingSample } = draft.hot;
    // The probe succeeded: a refusal that said nothing of its kind was no quota's.
    if (pendingSample !== null && !pendingSample.confirmed) {
      closeSample(draft, policies, pendingSample);
    }
  }
  let { charge } = grant;
  // Only what ended an episode can have found an early reset: after any other success of this window the
  // refusal before it said nothing about the window, and to begin it anew would part it from the upstream's.
  if (grant.ticket.role === 'routine' && verdict.outcome) {
    const reopened = budget.reopen(
      draft.hot.limits,
      draft.rules,
      charge,
      instance,
      grant.admittedAt,
    );
    for (const { name } of draft.rules) {
      if (charge[name] === reopened.outcome[name]) continue;
      draft.report({ kind: 'window-reopened', limit: name });
    }
    draft.setHot({ limits: reopened.limits });
    charge = reopened.outcome;
  }
  takeStatements(draft, policies, charge, statements);
  relaxCaution(draft, statements.length > 0);
  return charge;
}

/** Resets that the upstream states in its headers end our windows. */
function takeStatements(
  draft: Draft,
  { budget }: Policies,
  charge: Charge,
  statements: readonly LimitStatement[],
): void {
  const charged = chargedOf(draft.rules, charge);
  for (const statement of statements) {
    const { resetAt } = statement;
    const rule = ruleFor(statement, statements, charged);
    const entry = rule === null ? undefined : charge[rule.name];
    if (rule === null || entry === undefined || resetAt === null) continue;
    const inMs = resetAt - draft.now;
    if (statement.windowMs !== rule.windowMs && !canEnd(rule, inMs)) continue;
    draft.setHot({
      limits: budget.stateReset(draft.hot.limits, rule.name, entry.window, resetAt, draft.now),
    });
  }
}

/** A reset stated for a window of another name may be ours only if it lies within our length. */
function canEnd(rule: LimitRules, inMs: number): boolean {
  return inMs > 0 && inMs <= rule.windowMs && speaksOfWindow(inMs, rule.windowMs);
}

/** A limit header tells more than we lost; without a budget each success doubles what may be in flight. */
function relaxCaution(draft: Draft, stated: boolean): void {
  const { cautious } = draft.hot;
  if (cautious === null) return;
  if (stated) {
    draft.setHot({ cautious: null });
    draft.report({ kind: 'cautious-ended', by: 'limit-header' });
  } else if (cautious.allowance < MOST_ALLOWANCE) {
    draft.setHot({ cautious: { ...cautious, allowance: cautious.allowance * 2 } });
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
  const blame = attribute(refusal.limits, refusal.statements, hot.limits, rules);
  const kind = cooldownKind(refusal, windowMsOf(rules, blame.limit));
  const { statedWaitMs, jitter } = refusal;
  const verdict = policies.backoff.refused(
    hot.backoff,
    grant.ticket,
    grant.sequence,
    // The cooldown is the limit's only where the refusal says so, else the whole scope's.
    { kind, statedWaitMs, limit: refusal.limits.length > 0 ? blame.limit : null, jitter },
    now,
  );
  const { counters } = hot;
  const upstream429 = counters.upstream429 + (refusal.status === 429 ? 1 : 0);
  draft.setHot({ backoff: verdict.backoff, counters: { ...counters, upstream429 } });
  if (hot.cautious !== null && refusal.statements.length > 0) relaxCaution(draft, true);

  if (kind === 'quota' && blame.limit !== null && verdict.outcome !== 'ignored') {
    stateEndOfQuota(draft, policies, grant.charge, blame.limit, statedWaitMs);
  }
  if (verdict.outcome === 'noted' && kind === 'transient') {
    draft.report({ kind: 'transient-refusal' });
  }
  if (verdict.outcome !== 'began' && verdict.outcome !== 'climbed') return;
  reportCooldown(draft, verdict.outcome);
  if (kind === 'transient' || kind === 'terminal') return;
  draft.setHot({
    limits: policies.budget.noteRefusal(draft.hot.limits, rules, blame.limit, now),
  });
  if (verdict.outcome === 'began') beginSample(draft, policies, kind, blame);
  else climbInSample(draft, policies, blame);
}

/** The window that a short wait is measured against; without a limit to blame, the longest. */
function windowMsOf(rules: readonly LimitRules[], name: string | null): number {
  const rule = rules.find((candidate) => candidate.name === name);
  // A sliding window frees little by little, so it is refused with short waits itself.
  if (rule?.kind === 'sliding') return 0;
  return rule?.windowMs ?? Math.max(0, ...rules.map(({ windowMs }) => windowMs));
}

/** A quota's stated wait is a statement of when the window ends. */
function stateEndOfQuota(
  draft: Draft,
  { budget }: Policies,
  charge: Charge,
  name: string,
  statedWaitMs: number | null,
): void {
  const entry = charge[name];
  if (statedWaitMs === null || entry === undefined) return;
  const resetAt = draft.now + statedWaitMs;
  draft.setHot({
    limits: budget.stateReset(draft.hot.limits, name, entry.window, resetAt, draft.now),
  });
}

function reportCooldown(draft: Draft, outcome: 'began' | 'climbed'): void {
  const { cooldown, episode } = draft.hot.backoff;
  if (cooldown === null) return;
  draft.report({
    kind: outcome === 'began' ? 'cooldown-began' : 'cooldown-climbed',
    refusal: cooldown.kind,
    episode,
    rung: cooldown.rung,
    until: cooldown.until,
    limit: cooldown.limit,
  });
}

function beginSample(
  draft: Draft,
  policies: Policies,
  kind: CooldownKind,
  blame: Attribution,
): void {
  const { hot, now } = draft;
  // One that still waits for settlements of an earlier episode is judged as it stands.
  if (hot.pendingSample !== null) closeSample(draft, policies, hot.pendingSample);
  const context = {
    episode: draft.hot.backoff.episode,
    kind,
    limit: blame.limit,
    reason: blame.reason,
    sequence: hot.sequence,
    inFlight: inFlight(hot),
  };
  const limit = blame.limit === null ? null : limitOf(draft.hot.limits, blame.limit);
  draft.setHot({ pendingSample: policies.calibration.open(context, limit, now) });
  closeSampleIfComplete(draft, policies);
}

function climbInSample(draft: Draft, policies: Policies, blame: Attribution): void {
  const { backoff, pendingSample, limits } = draft.hot;
  if (pendingSample !== null && !pendingSample.confirmed) {
    draft.setHot({ pendingSample: { ...pendingSample, confirmed: true } });
    closeSampleIfComplete(draft, policies);
    return;
  }
  const tokens = blame.limit === null ? 0 : limitOf(limits, blame.limit).used;
  const climb = { episode: backoff.episode, limit: blame.limit, tokens };
  const calibration = policies.calibration.recordClimb(draft.cold.calibration, climb, draft.now);
  draft.setCold({ calibration });
}

/** The upstream is out of capacity for everyone: 529, 503, or an in-stream `overloaded_error`. */
export function overload(
  draft: Draft,
  policies: Policies,
  grant: Grant,
  statedWaitMs: number | null,
): void {
  freshen(draft, policies);
  const { hot, now } = draft;
  const { backoff, outcome } = policies.backoff.overloaded(
    hot.backoff,
    grant.ticket,
    grant.sequence,
    statedWaitMs,
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

import { beginRamp, restartRamp } from '../backoff/ramp.js';
import { boundsOf } from '../budget/bounds.js';
import type { Guard } from '../budget/guards.js';
import { limitOf } from '../budget/limits.js';
import { isOpen } from '../budget/window.js';
import { isComplete, orphanInSample } from '../calibration/sample.js';
import type { CautiousState, Instant, LimitState, StateLoss } from '../state/scope-state.js';
import { SIGN_OF_LIFE_MS } from '../state/state-repository.js';
import { shiftScope } from './clock-shift.js';
import { Draft } from './draft.js';
import type { GuardsHeld } from './events.js';
import {
  addStart,
  forget,
  forgetOldInstances,
  hasCrashLoop,
  inFlight,
  isCrashLoop,
  oneTooMany,
  silentInstances,
  uncleanStarts,
  NONE_IN_FLIGHT,
} from './instances.js';
import { isOnRecord, isReplaced, lookAtStarts, type OwnStart } from './own-start.js';
import type { Policies } from './policies.js';
import {
  forgetIdlePools,
  type Ladder,
  laddersOf,
  mapPools,
  mapSamples,
  sampleOf,
  setSample,
} from './pools.js';

/**
 * What time and accidents do to a scope, as opposed to requests: windows end, instances start, stop
 * and die, state is lost, samples close, the controller is weighed, the operator intervenes.
 */

/** Brings a scope up to now. Every decision begins with it. */
export function freshen(draft: Draft, policies: Policies): void {
  const { budget } = policies;
  if (draft.hot.lost !== null) takeInLoss(draft, draft.hot.lost, policies);
  const before = draft.hot.limits;
  const limits = budget.roll(before, draft.rules, draft.now, draft.hot.cautious !== null);
  if (limits !== before) {
    for (const { name } of draft.rules) {
      const was = limitOf(before, name);
      // A bucket that is forgotten had been empty for long.
      if (was.bucket === null && isOpen(was.window) && !isOpen(limitOf(limits, name).window)) {
        draft.report({ kind: 'window-ended', limit: name, used: was.used });
      }
      takeInChange(draft, policies, name, was, limitOf(limits, name));
    }
    draft.setHot({ limits });
  }
  const { cautious } = draft.hot;
  if (cautious !== null && draft.now >= cautious.until) {
    draft.setHot({ cautious: null });
    draft.report({ kind: 'cautious-ended', by: 'window' });
  }
  const { setBack } = draft.hot;
  if (setBack !== null && draft.now >= setBack.until) draft.setHot({ setBack: null });
}

/** What else is known of a limit goes with what the operator has changed of it. */
function takeInChange(
  draft: Draft,
  { calibration }: Policies,
  name: string,
  was: LimitState,
  is: LimitState,
): void {
  if (isLowered(was, is))
    draft.setCold({ calibration: calibration.answer(draft.cold.calibration) });
  const { lengthMs } = was.window;
  if (lengthMs === null || lengthMs === is.window.lengthMs) return;
  // Samples are of windows of the other length.
  draft.setCold({ calibration: calibration.forget(draft.cold.calibration, name) });
  for (const ladder of laddersOf(draft)) {
    if (sampleOf(draft, ladder)?.limit === name) setSample(draft, ladder, null);
  }
}

/** The operator lowered the budget, or took it back. */
function isLowered(was: LimitState, is: LimitState): boolean {
  const [before, after] = [boundsOf(was.budget).floor, boundsOf(is.budget).floor];
  return before !== null && (after === null || after < before);
}

/** An adapter lost or restored the scope: cautious until a whole window was seen. */
function takeInLoss(draft: Draft, loss: StateLoss, policies: Policies): void {
  if (loss.recordedAt !== null) shiftScope(draft, policies, loss.at - loss.recordedAt);
  const longest = Math.max(...draft.rules.map(({ windowMs }) => windowMs));
  const until = draft.now + longest;
  for (const ladder of laddersOf(draft)) setSample(draft, ladder, null);
  draft.setHot({
    lost: null,
    limits: policies.budget.distrust(draft.hot.limits, draft.rules),
    cautious: { since: draft.now, until, reason: loss.reason, allowance: 1 },
  });
  draft.report({ kind: 'cautious-began', reason: loss.reason, until });
}

/** Closes the samples that nothing can change any more. */
export function closeCompleteSamples(draft: Draft, policies: Policies): void {
  for (const ladder of laddersOf(draft)) {
    const sample = sampleOf(draft, ladder);
    if (sample !== null && isComplete(sample, draft.now)) closeSample(draft, policies, ladder);
  }
}

/** Closes the ladder's sample as it stands, if it has one, and learns from it if it is accepted. */
export function closeSample(draft: Draft, policies: Policies, ladder: Ladder): void {
  const pending = sampleOf(draft, ladder);
  if (pending === null) return;
  const { budget, calibration } = policies;
  const rule = draft.rules.find(({ name }) => name === pending.limit);
  const limitBefore = rule === undefined ? null : limitOf(draft.hot.limits, rule.name);
  const before = limitBefore?.budget ?? null;
  // What was learned is no bound that a sample could contradict.
  const floor = before === null || rule?.budget == null ? null : boundsOf(before).floor;
  const closed = calibration.close(
    draft.cold.calibration,
    pending,
    floor,
    limitBefore?.control.accepted,
  );
  draft.setCold({ calibration: closed.calibration });
  setSample(draft, ladder, null);
  const { limit, tokens, accepted, reason, episode } = closed.sample;
  draft.report({ kind: 'sample', limit, tokens, accepted, reason, episode });
  if (closed.learned === null || rule === undefined || before === null) return;
  const { limitTokens, highest, agreeing } = closed.learned;
  const limits = budget.learn(draft.hot.limits, rule, limitTokens, highest, agreeing);
  // Where headers lead a sample may teach nothing.
  if (limits === draft.hot.limits) return;
  draft.setHot({ limits });
  draft.report({
    kind: 'budget-learned',
    limit: rule.name,
    learned: limitTokens,
    from: before.current,
    to: limitOf(limits, rule.name).budget.current,
  });
}

export interface InstanceIdentity {
  readonly name: string;
  /** The store belongs to this instance alone: whatever others left in flight is orphaned. */
  readonly alone: boolean;
}

/** An instance starts: what it left in flight is orphaned, and an unclean end before it is counted. */
export function startInstance(draft: Draft, policies: Policies, self: InstanceIdentity): void {
  const { now } = draft;
  freshen(draft, policies);
  const before = draft.hot.instances[self.name];
  const unclean = before !== undefined && before.stoppedAt === null;
  const dead = self.alone ? Object.keys(draft.hot.instances) : [self.name];
  const flying = inFlight(draft.hot);
  for (const name of dead) orphanInstance(draft, policies, name);
  const left = inFlight(draft.hot);
  const ramp = restartRamp(draft.hot.ramp, flying - left, left, now);
  const started = {
    startedAt: now,
    seenAt: now,
    stoppedAt: null,
    turn: null,
    ...NONE_IN_FLIGHT,
  };
  makeRoomFor(draft, policies, self.name);
  const instances = { ...draft.hot.instances, [self.name]: started };
  const starts = addStart(draft.cold.starts[self.name] ?? [], { at: now, unclean });
  draft.setHot({ instances, ramp });
  draft.setCold({ starts: { ...draft.cold.starts, [self.name]: starts } });
  if (unclean) {
    const count = uncleanStarts(starts, now);
    draft.report({ kind: 'unclean-start', instance: self.name, uncleanStarts: count });
    if (isCrashLoop(starts, now)) {
      draft.report({ kind: 'crash-loop', instance: self.name, uncleanStarts: count });
    }
  }
  closeCompleteSamples(draft, policies);
}

/** An instance that the scope does not know is about to be counted: there may be so many, and no more. */
export function makeRoomFor(draft: Draft, policies: Policies, name: string): void {
  const dropped = oneTooMany(draft.state, name);
  if (dropped === null) return;
  orphanInstance(draft, policies, dropped);
  draft.state = forget(draft.state, [dropped]);
}

/** A clean stop, with everything settled. The record of another that has started since is left alone: it goes on. */
export function stopInstance(draft: Draft, name: string, known: OwnStart): void {
  const instance = draft.hot.instances[name];
  const start = lookAtStarts(draft, name, known);
  if (instance === undefined || isReplaced(start) || !isOnRecord(draft, name, start)) return;
  const stopped = { ...instance, turn: null, seenAt: draft.now, stoppedAt: draft.now };
  draft.setHot({ instances: { ...draft.hot.instances, [name]: stopped } });
}

/** What the instance had in flight stays charged but will never settle. */
export function orphanInstance(draft: Draft, policies: Policies, name: string): void {
  const instance = draft.hot.instances[name];
  const { limits } = draft.hot;
  for (const rule of draft.rules) {
    const amount = limitOf(limits, rule.name).unsettled[name] ?? 0;
    if (amount > 0) {
      draft.report({ kind: 'charge-orphaned', instance: name, limit: rule.name, amount });
    }
  }
  mapSamples(draft, (sample) => {
    const limit = sample.limit === null ? undefined : limits[sample.limit];
    const current = limit?.window.number === sample.window;
    const tokens = current ? (limit.unsettled[name] ?? 0) : 0;
    return orphanInSample(sample, instance?.inFlight ?? 0, tokens);
  });
  mapPools(draft, (pool) => policies.backoff.loseProbes(pool, name));
  draft.setHot({
    limits: policies.budget.orphan(limits, draft.rules, name),
    backoff: policies.backoff.loseProbes(draft.hot.backoff, name),
  });
  if (instance !== undefined && instance.inFlight > 0) {
    const instances = { ...draft.hot.instances, [name]: { ...instance, ...NONE_IN_FLIGHT } };
    draft.setHot({ instances, cautious: keepPlaces(draft.hot.cautious, instance.inFlight) });
  }
}

/** What died in flight without an answer keeps its place: see `cautiousAllowance`. */
function keepPlaces(cautious: CautiousState | null, lost: number): CautiousState | null {
  return cautious && { ...cautious, allowance: Math.max(0, cautious.allowance - lost) };
}

export interface TickContext {
  readonly self: string;
  /** This instance has nothing admitted that could still settle. */
  readonly idle: boolean;
  /** No other instance uses the store. */
  readonly alone: boolean;
  /** Another instance not heard of for this long, with something in flight, is gone. */
  readonly silentAfterMs: number;
  readonly start: OwnStart;
}

/** What the scheduled job's look at a scope has found. */
export interface Looked {
  /** Which guard held each budget back. */
  readonly guards: GuardsHeld;
  /** What is known of the starts from now on. */
  readonly start: OwnStart;
}

/** The scheduled job's look at a scope. */
export function tick(draft: Draft, policies: Policies, context: TickContext): Looked {
  freshen(draft, policies);
  const { now } = draft;
  for (const name of silentInstances(draft.hot, context.self, now, context.silentAfterMs)) {
    orphanInstance(draft, policies, name);
  }
  const start = lookAtStarts(draft, context.self, context.start);
  keepAlive(draft, policies, { ...context, start });
  // Both spend one budget all the same; but each start of one takes what the other has in flight for
  // orphaned, and counts as unclean.
  if (start.replaced && isLater(start, context.start)) {
    draft.report({ kind: 'name-shared', instance: context.self });
  }
  draft.state = forgetOldInstances(draft.state, context.self, now);
  closeCompleteSamples(draft, policies);
  if (inFlight(draft.hot) === 0) forgetIdlePools(draft);
  return { guards: weighGuards(draft, policies), start };
}

function isLater(start: OwnStart, than: OwnStart): boolean {
  return (start.startedAt ?? 0) > (than.startedAt ?? 0);
}

/**
 * Long streams write nothing between admission and settlement: without a sign of life other replicas
 * would take this one for dead. What an idle instance still has in flight, it will never settle: the
 * outcome of its charge was unknown and the charge repeated. One that only waits for requests is heard
 * of now and then, for whoever must know that it is there: `state copy`, and what forgets instances. One
 * that is stopped on record runs all the same: it shares its name with one that has stopped.
 */
function keepAlive(draft: Draft, policies: Policies, context: TickContext): void {
  const { self, idle, alone, start } = context;
  const instance = draft.hot.instances[self];
  if (instance === undefined) return;
  const flies = instance.inFlight > 0;
  // Before its own start is on record it is that of the run before.
  const mine = isOnRecord(draft, self, start);
  const heard = alone || draft.now - instance.seenAt < SIGN_OF_LIFE_MS;
  if (!flies && heard && (instance.stoppedAt === null || !mine)) return;
  if (flies && idle) orphanInstance(draft, policies, self);
  const before = draft.hot.instances[self] ?? instance;
  const stoppedAt = mine ? null : before.stoppedAt;
  const seen = { ...before, seenAt: draft.now, stoppedAt };
  draft.setHot({ instances: { ...draft.hot.instances, [self]: seen } });
}

function weighGuards(draft: Draft, { budget }: Policies): GuardsHeld {
  const context = {
    firstAdmittedAt: draft.hot.firstAdmittedAt,
    cautious: draft.hot.cautious !== null,
    crashLoop: hasCrashLoop(draft.state, draft.now),
  };
  const nudged = budget.nudge(draft.hot.limits, draft.rules, context, draft.now);
  draft.setHot({ limits: nudged.limits });
  const held: Record<string, GuardsHeld[string]> = {};
  for (const outcome of nudged.outcome) {
    held[outcome.limit] = outcome.kind === 'held' ? outcome.guard : 'raised';
    if (outcome.kind === 'raised') {
      const { limit, from, to } = outcome;
      draft.report({ kind: 'budget-raised', limit, from, to });
    } else {
      tellGuard(draft, outcome.limit, outcome.guard);
    }
  }
  return held;
}

/** A guard that comes and goes with every look is told this often at most. */
const GUARD_TOLD_MS = 600_000;

/** Told once when it changes, whichever instance looks. */
function tellGuard(draft: Draft, limit: string, guard: Guard): void {
  const told = draft.cold.guards[limit];
  if (told?.guard === guard) return;
  if (told !== undefined && draft.now - told.at < GUARD_TOLD_MS) return;
  const configured = draft.rules.flatMap(({ name }) => {
    const known = draft.cold.guards[name];
    return known === undefined ? [] : [[name, known] as const];
  });
  draft.setCold({
    guards: { ...Object.fromEntries(configured), [limit]: { guard, at: draft.now } },
  });
  draft.report({ kind: 'guard-holds', limit, guard });
}

/** The operator ends the cooldown, and those of the model pools. */
export function clearCooldown(draft: Draft, policies: Policies): void {
  freshen(draft, policies);
  const { backoff, pools } = draft.hot;
  const kinds = [backoff, ...Object.values(pools)].map(({ cooldown }) => cooldown?.kind);
  const kind = kinds.includes('acceleration') ? 'acceleration' : kinds.find(Boolean);
  // However it ends, what waited for a cooldown comes at once.
  if (kind !== undefined) {
    draft.setHot({ ramp: beginRamp(inFlight(draft.hot), kind, draft.now) });
  }
  draft.setHot({ backoff: policies.backoff.clear(backoff, draft.now) });
  mapPools(draft, (pool) => policies.backoff.clearPool(pool));
  draft.report({ kind: 'cooldown-cleared' });
}

/** The operator takes back what was learned. */
export function resetBudget(draft: Draft, policies: Policies): void {
  freshen(draft, policies);
  const before = draft.hot.limits;
  const limits = policies.budget.forget(before, draft.rules);
  draft.setHot({ limits });
  for (const ladder of laddersOf(draft)) setSample(draft, ladder, null);
  draft.setCold({ calibration: policies.calibration.forget(draft.cold.calibration) });
  for (const { name } of draft.rules) {
    const from = limitOf(before, name).budget.current;
    const to = limitOf(limits, name).budget.current;
    draft.report({ kind: 'budget-reset', limit: name, from, to });
  }
}

/** When the last of these instants is; null for none. */
export function latest(...instants: readonly (Instant | null)[]): Instant | null {
  const known = instants.filter((at) => at !== null);
  return known.length === 0 ? null : Math.max(...known);
}

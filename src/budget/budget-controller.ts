import type { Instant } from '../state/scope-state.js';
import { belowLimit, clampToBounds } from './bounds.js';
import {
  capBucket,
  chargeBucket,
  drain,
  fillBucket,
  forgetCharged,
  markOf,
  measureBucket,
  type Measured,
} from './bucket.js';
import { noteDenial, provenUse } from './charges.js';
import { amountIn, isSuccess, type Cost } from './cost.js';
import { growthShape } from './growth.js';
import { guardAgainstWindup, type Guard, type GuardContext } from './guards.js';
import {
  add,
  effectiveBudget,
  limitOf,
  mapLimits,
  release,
  wasRefused,
  type Limits,
} from './limits.js';
import { type ChargeEntry, correct, isBucket } from './kinds.js';
import type { Promises } from './promised.js';
import { proveRolling } from './proving.js';
import { lackOf, type Lack } from './room.js';
import type { ControllerSettings, LimitRules } from './settings.js';
import { shiftLimit } from './shift.js';
import { chargeCell, isSliding, orphanInCells, slide } from './sliding.js';
import { isStatedAnyway } from './stated-budget.js';
import {
  takeRolling,
  takeStatement,
  type Statement,
  type StatementContext,
} from './stated-limit.js';
import {
  adoptRules,
  dropStale,
  endsByReset,
  endWindow,
  openRest,
  type Teller,
  turnWindow,
  unlearn,
} from './turnover.js';
import { anchorWindow, hasTurned, isOver, isUnderWay, openWindow, stateEnd } from './window.js';

/**
 * What an admission was charged, by limit: the amount in the limit's unit and the number of the
 * window it went into. Whoever settles the request keeps it; it is never stored.
 */
export type Charge = Readonly<Record<string, ChargeEntry>>;

export interface ChargeRequest {
  readonly cost: Cost;
  readonly instance: string;
  /** State was lost within the window: the budget is at its floor. */
  readonly cautious: boolean;
  /** To those that come before it. */
  readonly promises?: Promises;
}

export type ChargeOutcome =
  { readonly kind: 'charged'; readonly charge: Charge } | ({ readonly kind: 'refused' } & Lack);

/** A new slice, the same reference if nothing changed, and what came of it. */
export interface Weighed<Outcome> {
  readonly limits: Limits;
  readonly outcome: Outcome;
}

export type NudgeOutcome =
  | { readonly kind: 'raised'; readonly limit: string; readonly from: number; readonly to: number }
  | { readonly kind: 'held'; readonly limit: string; readonly guard: Guard };

/**
 * Windows, charges and the integral controller of one scope's limits.
 * Pure: slices and instants in, slices and outcomes out. Every limit that a request is about is charged,
 * or none; which those are, the caller says by the rules it hands over.
 */
export class BudgetController {
  constructor(readonly settings: ControllerSettings) {}

  /** Brings the limits up to `now`: ends windows that ran out, drains buckets, takes on changed configuration. */
  roll(limits: Limits, rules: readonly LimitRules[], now: Instant, cautious = false): Limits {
    const configured = mapLimits(limits, rules, (limit, rule) => {
      const adopted = adoptRules(limit, rule, now);
      if (isBucket(rule, adopted)) {
        return drain(adopted, rule, effectiveBudget(adopted, cautious), now);
      }
      const opened = openRest(adopted, rule, now);
      const slid = isSliding(rule, opened) ? slide(opened, rule, now) : opened;
      return isOver(slid.window, now) ? endWindow(slid, rule) : slid;
    });
    return dropStale(configured, rules, now);
  }

  /** Charges the estimate to every limit, or to none if it does not fit one. Call on rolled limits. */
  charge(
    limits: Limits,
    rules: readonly LimitRules[],
    request: ChargeRequest,
    now: Instant,
  ): Weighed<ChargeOutcome> {
    const lack = lackOf(limits, rules, request, now);
    if (lack === null) return this.force(limits, rules, request, now);
    const noted = mapLimits(limits, rules, (limit, rule) =>
      noteDenial(limit, amountIn(rule.unit, request.cost), request.cautious, now),
    );
    return { limits: noted, outcome: { kind: 'refused', ...lack } };
  }

  /** Charges whatever the budget says: routine probes and observe mode. */
  force(
    limits: Limits,
    rules: readonly LimitRules[],
    request: ChargeRequest,
    now: Instant,
  ): Weighed<{ readonly kind: 'charged'; readonly charge: Charge }> {
    const charge: Record<string, ChargeEntry> = {};
    const next = mapLimits(limits, rules, (limit, rule) => {
      const amount = amountIn(rule.unit, request.cost);
      const window =
        limit.window.endsAt === null
          ? openWindow(limit.window, rule, now, !request.cautious)
          : limit.window;
      const before = provenUse(limit, rule, now);
      const entry = { window: window.number, at: now, amount, before, mark: null };
      charge[rule.name] = entry;
      const unsettled = add(limit.unsettled, request.instance, amount);
      if (isBucket(rule, limit)) {
        const charged = chargeBucket(limit, rule, amount, now, !request.cautious);
        charge[rule.name] = { ...entry, mark: markOf(charged) };
        return { ...charged, unsettled };
      }
      if (isSliding(rule, limit)) {
        const opened = { ...limit, window: { ...window, anchored: true } };
        return { ...opened, ...chargeCell(opened, rule, amount, now), unsettled };
      }
      return { ...limit, window, used: limit.used + amount, unsettled };
    });
    return { limits: next, outcome: { kind: 'charged', charge } };
  }

  /** Corrects a charge in flight to a better estimate. */
  amend(
    limits: Limits,
    rules: readonly LimitRules[],
    charge: Charge,
    estimate: Cost,
    instance: string,
    now: Instant,
  ): Weighed<Charge> {
    const amended: Record<string, ChargeEntry> = { ...charge };
    const next = mapLimits(limits, rules, (limit, rule) => {
      const entry = charge[rule.name];
      const amount = amountIn(rule.unit, estimate);
      if (entry === undefined || entry.amount === amount) return limit;
      if (!isUnderWay(limit.window, entry.window)) return limit;
      amended[rule.name] = { ...entry, amount };
      const { limit: released, givenBack } = release(limit, instance, entry.amount);
      const corrected = correct(released, rule, amount - entry.amount + givenBack, entry, now);
      return { ...released, ...corrected, unsettled: add(released.unsettled, instance, amount) };
    });
    return { limits: next, outcome: amended };
  }

  /**
   * Replaces the estimate by the actual cost. In the window of the admission it counts both ways;
   * once that has ended, only what exceeds the estimate counts, in the present window.
   */
  settle(
    limits: Limits,
    rules: readonly LimitRules[],
    charge: Charge,
    actual: Cost,
    instance: string,
    now: Instant,
  ): Limits {
    return mapLimits(limits, rules, (limit, rule) => {
      const entry = charge[rule.name];
      if (entry === undefined) return limit;
      const excess = amountIn(rule.unit, actual) - entry.amount;
      if (!isUnderWay(limit.window, entry.window)) {
        return excess > 0 ? { ...limit, ...correct(limit, rule, excess, entry, now) } : limit;
      }
      const { limit: released, givenBack } = release(limit, instance, entry.amount);
      const settled = { ...released, ...correct(released, rule, excess + givenBack, entry, now) };
      if (!isSuccess(actual) || entry.before <= limit.control.accepted) return settled;
      return { ...settled, control: { ...limit.control, accepted: entry.before } };
    });
  }

  /** The instance is gone: what it had in flight stays charged, as orphaned. */
  orphan(limits: Limits, rules: readonly LimitRules[], instance: string): Limits {
    return mapLimits(limits, rules, (limit) => {
      const amount = limit.unsettled[instance];
      if (amount === undefined) return limit;
      const { [instance]: _, ...unsettled } = limit.unsettled;
      // Of a sliding window a part in flight may have freed already.
      const orphaned = Math.min(limit.used, limit.orphaned + amount);
      const cells = orphanInCells(limit.cells, amount);
      return { ...limit, cells, unsettled, orphaned, bucket: forgetCharged(limit, amount) };
    });
  }

  /** An admission charged to these windows succeeded: they began when the upstream took it. */
  anchor(
    limits: Limits,
    rules: readonly LimitRules[],
    charge: Charge,
    admittedAt: Instant,
  ): Limits {
    return mapLimits(limits, rules, (limit, rule) => {
      if (charge[rule.name]?.window !== limit.window.number) return limit;
      const window = anchorWindow(limit.window, rule, admittedAt);
      return window === limit.window ? limit : { ...limit, window };
    });
  }

  /** The upstream stated when a limit's window ends, answering an admission charged to `window`. */
  stateReset(limits: Limits, name: string, window: number, resetAt: Instant, now: Instant): Limits {
    const limit = limits[name];
    if (limit === undefined || !endsByReset(limit, window)) return limits;
    const stated = stateEnd(limit.window, resetAt, now);
    return stated === limit.window ? limits : { ...limits, [name]: { ...limit, window: stated } };
  }

  /** The upstream has begun its next window, by the end it stated; the same reference if it has not. */
  turn(limits: Limits, rule: LimitRules, teller: Teller, resetAt: Instant, now: Instant): Limits {
    const limit = limits[rule.name];
    if (limit === undefined || !endsByReset(limit, teller.window)) return limits;
    if (!hasTurned(limit.window, rule, resetAt, now)) return limits;
    return { ...limits, [rule.name]: turnWindow(limit, rule, teller, resetAt, now) };
  }

  /** The upstream stated how much of a limit is used, answering an admission charged as `entry` says. */
  takeStatement(
    limits: Limits,
    rule: LimitRules,
    entry: ChargeEntry,
    statement: Statement,
    context: StatementContext,
  ): Limits {
    const limit = limits[rule.name];
    if (limit === undefined || !isUnderWay(limit.window, entry.window)) return limits;
    const rolls = isSliding(rule, limit) || isBucket(rule, limit);
    const next = rolls
      ? takeRolling(limit, rule, statement, context)
      : takeStatement(limit, statement, context);
    return next === limit ? limits : { ...limits, [rule.name]: next };
  }

  /**
   * A routine probe succeeded: where the upstream had refused within the window, it has reset early,
   * and a new window began with the probe. Returns the probe's charge, moved into the new windows.
   */
  reopen(
    limits: Limits,
    rules: readonly LimitRules[],
    charge: Charge,
    instance: string,
    admittedAt: Instant,
  ): Weighed<Charge> {
    const moved: Record<string, ChargeEntry> = { ...charge };
    const next = mapLimits(limits, rules, (limit, rule) => {
      const entry = charge[rule.name];
      if (entry === undefined || entry.window !== limit.window.number) return limit;
      // Room after a refusal is what these two are about, and no early reset.
      if (!wasRefused(limit) || isSliding(rule, limit) || isBucket(rule, limit)) return limit;
      const opened = openWindow(limit.window, rule, admittedAt, true);
      const { number } = opened;
      moved[rule.name] = { ...entry, window: number, at: admittedAt, before: 0, mark: null };
      return {
        ...endWindow(limit, rule),
        window: { ...opened, anchored: true },
        used: entry.amount,
        unsettled: { [instance]: entry.amount },
      };
    });
    return { limits: next, outcome: moved };
  }

  /** A routine probe of budgets that were learned goes out now. */
  noteProbe(
    limits: Limits,
    rules: readonly LimitRules[],
    names: readonly string[],
    now: Instant,
  ): Limits {
    return mapLimits(limits, rules, (limit, { name }) =>
      names.includes(name) ? { ...limit, control: { ...limit.control, probedAt: now } } : limit,
    );
  }

  /** The upstream refused a request at `at`; `name` is the limit that was to blame, null for all of them. */
  noteRefusal(
    limits: Limits,
    rules: readonly LimitRules[],
    name: string | null,
    at: Instant,
  ): Limits {
    return mapLimits(limits, rules, (limit, rule) => {
      if (name !== null && name !== rule.name) return limit;
      const refusedAt = Math.max(at, limit.control.refusedAt ?? at);
      return { ...limit, control: { ...limit.control, refusedAt, full: null } };
    });
  }

  /** The upstream refused for this limit: if it is a bucket, the upstream's is full. */
  noteFull(
    limits: Limits,
    rules: readonly LimitRules[],
    name: string,
    cautious: boolean,
    now: Instant,
  ): Limits {
    return mapLimits(limits, rules, (limit, rule) =>
      name === rule.name ? fillBucket(limit, rule, effectiveBudget(limit, cautious), now) : limit,
    );
  }

  /** What a refusal now tells of a bucket's limit; null for the other kinds, of which their charge does. */
  measure(limits: Limits, rule: LimitRules, now: Instant): Measured | null {
    const limit = limitOf(limits, rule.name);
    return limit.bucket === null ? null : measureBucket(limit, rule, now);
  }

  /**
   * Takes on the upstream's limit as the newest accepted samples tell it.
   * `highest` is the highest of the last 20 that count, from which learn mode measures floor and ceiling;
   * `agreeing` how many in a row agree on the limit.
   */
  learn(limits: Limits, rule: LimitRules, learned: number, highest: number, agreeing = 1): Limits {
    const limit = limitOf(limits, rule.name);
    if (isStatedAnyway(limit, learned)) return limits;
    const bounds = { reference: rule.budget ?? highest, found: highest };
    const base = { ...limit.budget, learned, ...bounds, source: 'learned' as const };
    const budget = { ...base, current: clampToBounds(base, belowLimit(learned, agreeing)) };
    const control = { ...limit.control, agreeing, accepted: 0 };
    // At the refusal the upstream's bucket held its limit and no more.
    return { ...limits, [rule.name]: { ...capBucket(limit, learned), budget, control } };
  }

  /** Raises the budgets that stood in the way, by one step, where every guard agrees. */
  nudge(
    limits: Limits,
    rules: readonly LimitRules[],
    context: GuardContext,
    now: Instant,
  ): Weighed<readonly NudgeOutcome[]> {
    const outcomes: NudgeOutcome[] = [];
    const next = mapLimits(limits, rules, (found, rule) => {
      const limit = proveRolling(found, rule, now);
      const guard = guardAgainstWindup(limit, rule, this.settings, context, now);
      if (guard !== null) {
        outcomes.push({ kind: 'held', limit: rule.name, guard });
        return limit;
      }
      const from = limit.budget.current ?? 0;
      const step =
        from *
        this.settings.nudge *
        growthShape(from, limit.budget.learned, limit.control.agreeing);
      const to = clampToBounds(limit.budget, from + Math.max(1, Math.round(step)));
      outcomes.push({ kind: 'raised', limit: rule.name, from, to });
      const control = { ...limit.control, nudgedAt: now, inTheWay: false };
      return { ...limit, budget: { ...limit.budget, current: to }, control };
    });
    return { limits: next, outcome: outcomes };
  }

  /** The operator takes back what was learned. */
  forget(limits: Limits, rules: readonly LimitRules[]): Limits {
    return mapLimits(limits, rules, unlearn);
  }

  /** State was lost: what the windows hold is no ground for learning. */
  distrust(limits: Limits, rules: readonly LimitRules[]): Limits {
    return mapLimits(limits, rules, (limit) =>
      limit.window.observed ? { ...limit, window: { ...limit.window, observed: false } } : limit,
    );
  }

  /** Moves every instant by `shiftMs`, with a clock that jumped. */
  shift(limits: Limits, rules: readonly LimitRules[], shiftMs: number): Limits {
    return mapLimits(limits, rules, (limit) => shiftLimit(limit, shiftMs));
  }
}

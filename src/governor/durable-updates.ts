import { SYSTEM_TIME } from '../platform/clock.js';
import { Counts } from '../platform/counts.js';
import { Histogram } from '../platform/histogram.js';
import { hasCode } from '../platform/tidegate-error.js';
import { sleep, type Timers } from '../platform/timers.js';
import type { StateRepository } from '../state/state-repository.js';
import { type Decision, Draft, type ScopeRules } from './draft.js';
import type { EventListener } from './events.js';
import type { Policies } from './policies.js';
import { freshen } from './upkeep.js';

/** Pause before a write that failed is tried again. */
const RETRY_MS = 250;
/** A state that can't be written makes a request wait this long before it is refused. */
export const STATE_WAIT_MS = 2_000;
/** A charge whose outcome can't be known is made once more: it may stand twice, and not twenty times. */
export const MOST_UNKNOWN = 2;

/** The write did not happen, or may not have. */
export function isStateFailure(error: unknown): boolean {
  return hasCode(error, 'STATE_UNAVAILABLE') || isUnknown(error);
}

/** The write may have happened. */
export function isUnknown(error: unknown): boolean {
  return hasCode(error, 'STATE_UNKNOWN');
}

/** How the changes that were handed to the store have fared since the process started. */
export class UpdateTally {
  /** From handing a change over until it is durable; what changed nothing is left out. */
  readonly durableMs = new Histogram();
  /** Attempts that failed, one for each caller, by scope. */
  readonly failures: Counts<'unavailable' | 'unknown'>;

  constructor(scopes: readonly string[]) {
    this.failures = new Counts(scopes, ['unavailable', 'unknown']);
  }

  failed(scope: string, error: unknown): void {
    if (isStateFailure(error))
      this.failures.add(scope, isUnknown(error) ? 'unknown' : 'unavailable');
  }
}

/** Runs decisions on a scope's durable state, and reports what happened once it is durable. */
export class DurableUpdates {
  constructor(
    private readonly options: {
      readonly repository: StateRepository;
      readonly timers: Timers;
      readonly instance: string;
      readonly report: EventListener;
    },
    private readonly tally: UpdateTally,
  ) {}

  /** One attempt; rejects as the store does. */
  async update<Value>(
    rules: ScopeRules,
    requestId: string | null,
    decide: (draft: Draft) => Value,
  ): Promise<Value> {
    const { repository, report, instance } = this.options;
    const handedAt = SYSTEM_TIME.monotonic();
    let changed = false;
    let outcome: Decision<Value>['outcome'];
    try {
      outcome = await repository.update(rules.name, (state, now) => {
        const draft = new Draft(state, now, rules.limits);
        const decision = draft.decide(decide(draft), { instance, requestId });
        changed = decision.state !== state;
        return decision;
      });
    } catch (error) {
      this.tally.failed(rules.name, error);
      throw error;
    }
    if (changed) this.tally.durableMs.record(SYSTEM_TIME.monotonic() - handedAt);
    const { value, happened } = outcome;
    for (const { event, record } of happened) report(rules.name, event, record);
    return value;
  }

  /** Repeats what certainly did not happen; rejects with STATE_UNKNOWN. Null: the store is closed. */
  async repeat<Value>(
    rules: ScopeRules,
    requestId: string | null,
    decide: (draft: Draft) => Value,
  ): Promise<Value | null> {
    for (;;) {
      try {
        return await this.update(rules, requestId, decide);
      } catch (error) {
        if (hasCode(error, 'STATE_CLOSED')) return null;
        if (!hasCode(error, 'STATE_UNAVAILABLE')) throw error;
        await sleep(this.options.timers, RETRY_MS);
      }
    }
  }

  /**
   * Repeats until it is durable: for decisions that are safe to make twice. One that counts something
   * each time it is made is given up after `mostUnknown` outcomes that can't be known.
   * Null: the store is closed, or it was given up.
   */
  async persist<Value>(
    rules: ScopeRules,
    requestId: string | null,
    decide: (draft: Draft) => Value,
    mostUnknown = Number.POSITIVE_INFINITY,
  ): Promise<Value | null> {
    for (let unknown = 0; unknown < mostUnknown; unknown += 1) {
      try {
        return await this.repeat(rules, requestId, decide);
      } catch (error) {
        if (!isUnknown(error)) throw error;
        await sleep(this.options.timers, RETRY_MS);
      }
    }
    return null;
  }

  /** The scope brought up to now, without writing anything. */
  async look(rules: ScopeRules, policies: Policies): Promise<Draft> {
    const { state, now } = await this.options.repository.read(rules.name);
    const draft = new Draft(state, now, rules.limits);
    freshen(draft, policies);
    return draft;
  }
}

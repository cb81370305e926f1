import { hasCode } from '../platform/tidegate-error.js';
import { sleep, type Timers } from '../platform/timers.js';
import type { StateRepository } from '../state/state-repository.js';
import { Draft, type ScopeRules } from './draft.js';
import type { EventListener } from './events.js';
import type { Policies } from './policies.js';
import { freshen } from './upkeep.js';

/** Pause before a write that failed is tried again. */
const RETRY_MS = 250;

/** The write did not happen, or may not have. */
export function isStateFailure(error: unknown): boolean {
  return hasCode(error, 'STATE_UNAVAILABLE') || isUnknown(error);
}

/** The write may have happened. */
export function isUnknown(error: unknown): boolean {
  return hasCode(error, 'STATE_UNKNOWN');
}

/** Runs decisions on a scope's durable state, and reports what happened once it is durable. */
export class DurableUpdates {
  constructor(
    private readonly options: {
      readonly repository: StateRepository;
      readonly timers: Timers;
      readonly report: EventListener;
    },
  ) {}

  /** One attempt; rejects as the store does. */
  async update<Value>(
    rules: ScopeRules,
    requestId: string | null,
    decide: (draft: Draft) => Value,
  ): Promise<Value> {
    const { repository, report } = this.options;
    const { value, events } = await repository.update(rules.name, (state, now) => {
      const draft = new Draft(state, now, rules.limits);
      return draft.decide(decide(draft));
    });
    for (const event of events) report(rules.name, event, requestId);
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

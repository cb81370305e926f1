import { SYSTEM_TIME } from '../platform/clock.js';
import { Counts } from '../platform/counts.js';
import { Histogram } from '../platform/histogram.js';
import { hasCode } from '../platform/tidegate-error.js';
import { sleep, type Timers } from '../platform/timers.js';
import type { StateRepository } from '../state/state-repository.js';
import type { Instant, ScopeState } from '../state/scope-state.js';
import { Draft, type Happened, type ScopeRules } from './draft.js';
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
  /** Updates that failed, each attempt by itself, by scope. */
  readonly failures: Counts<'unavailable' | 'unknown'>;

  constructor(scopes: readonly string[]) {
    this.failures = new Counts(scopes, ['unavailable', 'unknown']);
  }

  failed(scope: string, error: unknown): void {
    if (isStateFailure(error))
      this.failures.add(scope, isUnknown(error) ? 'unknown' : 'unavailable');
  }
}

/** Part of an update. */
export interface Change {
  /** On whose behalf; null for the job, a start or the operator. */
  readonly requestId: string | null;
  /** Called again for another attempt of the same update, on the state read anew. */
  decide(draft: Draft): void;
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
  update<Value>(
    rules: ScopeRules,
    requestId: string | null,
    decide: (draft: Draft) => Value,
  ): Promise<Value> {
    return new Promise((resolve, reject) => {
      let value: Value;
      const change = { requestId, decide: (draft: Draft) => void (value = decide(draft)) };
      this.submit(rules, [change], () => resolve(value), reject);
    });
  }

  /**
   * One attempt at several changes, in order and in one update: all of them become durable, or none.
   * Tells by a call instead of a promise, for there is one with each request.
   */
  submit(
    rules: ScopeRules,
    changes: readonly Change[],
    made: () => void,
    failed: (error: unknown) => void,
  ): void {
    const { repository, report } = this.options;
    const handedAt = SYSTEM_TIME.monotonic();
    let changed = false;
    const decide = (state: ScopeState, now: Instant) => {
      const decision = this.#decide(rules, changes, state, now);
      changed = decision.state !== state;
      return decision;
    };
    repository.update(rules.name, decide).then(
      (happened) => {
        if (changed) this.tally.durableMs.record(SYSTEM_TIME.monotonic() - handedAt);
        for (const { event, record } of happened) report(rules.name, event, record);
        made();
      },
      (error: unknown) => {
        this.tally.failed(rules.name, error);
        failed(error);
      },
    );
  }

  #decide(
    { limits }: ScopeRules,
    changes: readonly Change[],
    before: ScopeState,
    now: Instant,
  ): { readonly state: ScopeState; readonly outcome: readonly Happened[] } {
    const { instance } = this.options;
    let state = before;
    let outcome: readonly Happened[] = [];
    for (const { requestId, decide } of changes) {
      const draft = new Draft(state, now, limits);
      decide(draft);
      const happened = draft.conclude({ instance, requestId });
      if (happened.length > 0) outcome = [...outcome, ...happened];
      state = draft.state;
    }
    return { state, outcome };
  }

  /**
   * Repeats what certainly did not happen, and says so before each time; rejects with STATE_UNKNOWN.
   * False: the store is closed.
   */
  repeat(
    rules: ScopeRules,
    changes: readonly Change[],
    onFailure: () => void = () => {},
  ): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const made = () => resolve(true);
      const failed = (error: unknown) => {
        if (hasCode(error, 'STATE_CLOSED')) resolve(false);
        else if (!hasCode(error, 'STATE_UNAVAILABLE')) reject(error);
        else {
          onFailure();
          this.options.timers.after(RETRY_MS, attempt);
        }
      };
      const attempt = () => this.submit(rules, changes, made, failed);
      attempt();
    });
  }

  /**
   * Repeats until it is durable: for changes that are safe to make twice. One that counts something
   * each time it is made is given up after `mostUnknown` outcomes that can't be known.
   * False: the store is closed, or it was given up.
   */
  async persist(
    rules: ScopeRules,
    change: Change,
    mostUnknown = Number.POSITIVE_INFINITY,
  ): Promise<boolean> {
    for (let unknown = 0; unknown < mostUnknown; unknown += 1) {
      try {
        return await this.repeat(rules, [change]);
      } catch (error) {
        if (!isUnknown(error)) throw error;
        await sleep(this.options.timers, RETRY_MS);
      }
    }
    return false;
  }

  /** The scope brought up to now, without writing anything. */
  async look(rules: ScopeRules, policies: Policies): Promise<Draft> {
    const { state, now } = await this.options.repository.read(rules.name);
    const draft = new Draft(state, now, rules.limits);
    freshen(draft, policies);
    return draft;
  }
}

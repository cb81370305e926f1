import { BackoffPolicy } from '../../src/backoff/backoff-policy.js';
import { BudgetController } from '../../src/budget/budget-controller.js';
import type { LimitRules } from '../../src/budget/settings.js';
import { CalibrationStore } from '../../src/calibration/calibration-store.js';
import type { Admission } from '../../src/governor/admission.js';
import type { LimitStatement } from '../../src/governor/attribution.js';
import type { Denial } from '../../src/governor/admit.js';
import type { GovernorEvent } from '../../src/governor/events.js';
import { Governor } from '../../src/governor/governor.js';
import type { Policies } from '../../src/governor/policies.js';
import type { ScopeView } from '../../src/governor/scope-view.js';
import type { Settlement } from '../../src/governor/settlement.js';
import type { UpstreamRefusal } from '../../src/governor/verdict.js';
import { SteadyClock } from '../../src/platform/clock.js';
import { MemoryDisk, MemoryStateRepository } from '../../src/state/memory/memory-repository.js';
import type { EventRecord } from '../../src/state/scope-state.js';
import type { StateRepository } from '../../src/state/state-repository.js';
import { ManualTime } from '../support/manual-time.js';

export const SECOND = 1_000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;
export const SCOPE = 'test';

export function limit(overrides: Partial<LimitRules> = {}): LimitRules {
  const base = {
    name: 'tokens',
    unit: 'tokens',
    kind: 'fixed',
    windowMs: 5 * HOUR,
    budget: null,
    models: null,
  };
  return { ...base, ...overrides } as LimitRules;
}

/** What an answer's headers say of one limit; nothing, as far as it is not given. */
export function statement(given: Partial<LimitStatement> & { name: string }): LimitStatement {
  const nothing = { status: null, limit: null, remaining: null, utilization: null, resetAt: null };
  return { ...nothing, windowMs: null, representative: false, ...given };
}

export interface TownOptions {
  readonly limits?: readonly LimitRules[];
  readonly observe?: boolean;
  /** Stands between the governor and its memory: faults, delays. */
  readonly wrap?: (repository: StateRepository) => StateRepository;
  readonly instance?: string;
  /** Of several that share it. */
  readonly time?: ManualTime;
}

export const POLICIES: Policies = {
  budget: new BudgetController({
    nudge: 0.03,
    nudgeEveryMs: HOUR,
    minTrafficMs: HOUR,
    minUsed: 0.05,
  }),
  backoff: new BackoffPolicy({
    ladderMs: [30, 60, 120, 240, 300].map((seconds) => seconds * SECOND),
    probeEveryMs: HOUR,
  }),
  calibration: new CalibrationStore(),
};

/** A governor on virtual time and a disk that outlives it. */
export class Town {
  readonly time: ManualTime;
  readonly disk = new MemoryDisk();
  readonly events: GovernorEvent[] = [];
  /** Takes each event as it is kept. */
  onRecord: (record: EventRecord) => void = () => {};
  rules: readonly LimitRules[];
  governor!: Governor;
  repository!: StateRepository;
  #random = 0;

  private constructor(readonly options: TownOptions) {
    this.rules = options.limits ?? [limit()];
    this.time = options.time ?? new ManualTime();
  }

  static async open(options: TownOptions = {}): Promise<Town> {
    const town = new Town(options);
    await town.start();
    return town;
  }

  /** A new process on the same disk: after `crash`, or after `stop`; with `rules` for its configuration. */
  async start(rules = this.rules): Promise<void> {
    this.rules = rules;
    const { wrap = (same) => same, observe = false, instance = 'a' } = this.options;
    const clock = new SteadyClock(this.time);
    this.repository = wrap(new MemoryStateRepository(clock, this.disk));
    this.governor = new Governor({
      repository: this.repository,
      policies: POLICIES,
      scopes: [{ name: SCOPE, limits: this.rules }],
      instance,
      observe,
      tickMs: MINUTE,
      timers: this.time,
      random: () => this.#random,
      report: (_scope, event, record) => {
        this.events.push(event);
        this.onRecord(record);
      },
    });
    const started = this.governor.start();
    await this.pass(0);
    await started;
  }

  /** SIGKILL: whatever was not durable is gone, and so is the process's memory. */
  async crash(): Promise<void> {
    await this.repository.close();
    await this.start();
  }

  async stop(): Promise<void> {
    const stopped = this.governor.stop(5 * SECOND);
    await this.pass(0);
    await stopped;
    await this.repository.close();
  }

  /** Lets `ms` pass, and everything that became possible happen. */
  async pass(ms: number): Promise<void> {
    this.time.advance(ms);
    for (let turn = 0; turn < 60; turn += 1) await Promise.resolve();
  }

  /** Asks for admission of a request whose body makes the estimate `0.3 * bodyBytes + 405` at first. */
  async ask(options: { bodyBytes?: number; session?: string; model?: string } = {}) {
    const { bodyBytes = 1, session = '', model = 'm' } = options;
    const asked = this.governor.admit(SCOPE, { requestId: 'r', model, session, bodyBytes });
    await this.pass(0);
    return asked;
  }

  async admit(options: Parameters<Town['ask']>[0] = {}): Promise<Admission> {
    const outcome = await this.ask(options);
    if (outcome.kind !== 'admitted') throw new Error(`not admitted: ${JSON.stringify(outcome)}`);
    return outcome.admission;
  }

  async denied(): Promise<Denial> {
    const outcome = await this.ask();
    if (outcome.kind !== 'refused') throw new Error(`not refused: ${outcome.kind}`);
    return outcome.denial;
  }

  /** A whole call that succeeds at this cost, of a model of its own: other estimates stay unlearned. */
  async call(tokens: number): Promise<void> {
    const admission = await this.admit({ model: 'called' });
    this.governor.succeeded(admission, []);
    await this.settle(admission, success(tokens));
  }

  async settle(admission: Admission, settlement: Settlement): Promise<void> {
    this.governor.settle(admission, settlement);
    await this.pass(250);
  }

  async refuse(admission: Admission, refusal: Partial<UpstreamRefusal> = {}): Promise<void> {
    const whole = { status: 429, kind: 'quota', statedWaitMs: null, limits: [], statements: [] };
    const told = { ...whole, ...refusal } as UpstreamRefusal;
    const done = this.governor.refused(admission, Promise.resolve(told));
    await this.pass(0);
    await done;
    await this.settle(admission, { kind: 'not-a-success' });
  }

  async tick(): Promise<void> {
    const ticked = this.governor.tick();
    await this.pass(0);
    await ticked;
  }

  async view(): Promise<ScopeView> {
    return this.governor.view(SCOPE);
  }

  async limitView(index = 0): Promise<ScopeView['limits'][number]> {
    const { limits } = await this.view();
    return limits[index] as ScopeView['limits'][number];
  }

  happened(kind: GovernorEvent['kind']): GovernorEvent[] {
    return this.events.filter((event) => event.kind === kind);
  }
}

export function success(tokens: number, complete = true): Extract<Settlement, { kind: 'success' }> {
  return {
    kind: 'success',
    whole: complete,
    complete,
    inputTokens: tokens,
    cachedTokens: 0,
    outputTokens: 0,
    relayedOutputTokens: 0,
  };
}

/** Every update takes two attempts, as where a row was changed by others meanwhile. */
export function twice(repository: StateRepository): StateRepository {
  const update: StateRepository['update'] = (scope, decide) =>
    repository.update(scope, (state, now) => {
      decide(state, now);
      return decide(state, now);
    });
  return instead(repository, { update });
}

export function instead(
  repository: StateRepository,
  other: Partial<StateRepository>,
): StateRepository {
  return new Proxy(repository, {
    get: (target, key) => {
      const value: unknown = Reflect.get(key in other ? other : target, key);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

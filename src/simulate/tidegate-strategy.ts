import { BackoffPolicy } from '../backoff/backoff-policy.js';
import { BudgetController } from '../budget/budget-controller.js';
import { effectiveBudget } from '../budget/limits.js';
import { CalibrationStore } from '../calibration/calibration-store.js';
import type { Admission } from '../governor/admission.js';
import type { LimitStatement } from '../governor/attribution.js';
import type { GovernorEvent } from '../governor/events.js';
import { Governor } from '../governor/governor.js';
import type { Policies } from '../governor/policies.js';
import { rfc3339, SteadyClock, type Clock } from '../platform/clock.js';
import type { Random } from '../platform/random.js';
import type { Timers } from '../platform/timers.js';
import { MemoryDisk, MemoryStateRepository } from '../state/memory/memory-repository.js';
import type { StateRepository } from '../state/state-repository.js';
import type { Answer, Offer, Process, Strategy, UpstreamRefusalFacts, Usage } from './strategy.js';
import type { VirtualTime } from './virtual-time.js';
import type { World } from './world.js';

const SCOPE = 'simulated';
const LIMIT = 'tokens';
/** As the proxy states them (`TIDEGATE_MAX_RETRY_AFTER`). */
const SHORTEST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 59_000;
/** How long a clean stop waits for its last writes. */
const STOP_MS = 5_000;

/** The production governor on its own memory: what a process keeps is on the disk, which outlives it. */
export class TidegateStrategy implements Strategy<Admission> {
  readonly #world: World;
  readonly #time: VirtualTime;
  readonly #random: Random;
  readonly #onEvent: (event: GovernorEvent) => void;
  readonly #policies: Policies;
  readonly #disk = new MemoryDisk('simulated');
  readonly #clock: RecordedClock;
  /** Replicas share one store and its clock. */
  readonly #shared: StateRepository | null;
  #orphaned = 0;

  constructor(
    world: World,
    time: VirtualTime,
    random: Random,
    onEvent: (event: GovernorEvent) => void,
  ) {
    this.#world = world;
    this.#time = time;
    this.#random = random;
    this.#onEvent = onEvent;
    this.#policies = {
      budget: new BudgetController(world.governor),
      backoff: new BackoffPolicy(world.governor),
      calibration: new CalibrationStore(),
    };
    this.#clock = new RecordedClock(time);
    this.#shared =
      world.replicas > 1 ? new MemoryStateRepository(this.#clock, this.#disk, true) : null;
  }

  async start(replica: number): Promise<TidegateProcess> {
    const { windowMs, windowKind, budget, tickMs } = this.#world.governor;
    const repository = this.#shared ?? this.#reopen();
    const timers = new ProcessTimers(this.#time);
    const governor = new Governor({
      repository,
      policies: this.#policies,
      scopes: [
        {
          name: SCOPE,
          limits: [
            { name: LIMIT, unit: 'tokens', kind: windowKind, windowMs, models: null, budget },
          ],
        },
      ],
      instance: `simulated-${replica}`,
      observe: false,
      tickMs,
      timers,
      random: this.#random,
      report: (_scope, event) => this.#report(event),
    });
    await governor.load();
    await governor.start();
    return new TidegateProcess(governor, repository, timers, this.#clock);
  }

  budget(): number | null {
    const limit = this.#disk.scopes.get(SCOPE)?.hot.limits[LIMIT];
    return limit === undefined ? null : effectiveBudget(limit, false);
  }

  orphanedTokens(): number {
    return this.#orphaned;
  }

  #report(event: GovernorEvent): void {
    if (event.kind === 'charge-orphaned') this.#orphaned += event.amount;
    this.#onEvent(event);
  }

  /** A disk that belongs to one process: the new one takes it over, and its clock continues the record. */
  #reopen(): StateRepository {
    const recordedAt = this.#clock.recordedAt;
    const behindMs = this.#clock.restart();
    const state = this.#disk.scopes.get(SCOPE);
    if (behindMs > 0 && state !== undefined) {
      const lost = { reason: 'clock', at: this.#clock.now(), recordedAt } as const;
      this.#disk.scopes.set(SCOPE, { ...state, hot: { ...state.hot, lost } });
    }
    return new MemoryStateRepository(this.#clock, this.#disk);
  }
}

/** The store's clock, and the last instant it put on record. */
class RecordedClock implements Clock {
  recordedAt: number | null = null;
  #clock: SteadyClock;

  constructor(private readonly time: VirtualTime) {
    this.#clock = new SteadyClock(time);
  }

  now(): number {
    const now = this.#clock.now();
    this.recordedAt = now;
    return now;
  }

  /** Another process begins; returns how far the wall clock lies behind the record, if over an hour. */
  restart(): number {
    this.#clock = new SteadyClock(this.time);
    return this.#clock.continueFrom(this.recordedAt).behindMs;
  }

  /** An upstream's answer says what time it is. */
  witness(): void {
    if (this.time.wall() === this.time.trueWall) return;
    this.#clock.witness(rfc3339(this.time.trueWall));
  }
}

/** Timers that die with their process. */
class ProcessTimers implements Timers {
  dead = false;

  constructor(private readonly time: VirtualTime) {}

  after(delayMs: number, call: () => void): () => void {
    return this.time.after(delayMs, () => {
      if (!this.dead) call();
    });
  }
}

class TidegateProcess implements Process<Admission> {
  constructor(
    private readonly governor: Governor,
    private readonly repository: StateRepository,
    private readonly timers: ProcessTimers,
    private readonly clock: RecordedClock,
  ) {}

  async admit({ session, model, bodyBytes }: Offer): Promise<Answer<Admission>> {
    const request = { requestId: '', model, session, bodyBytes };
    const outcome = await this.governor.admit(SCOPE, request);
    if (outcome.kind === 'admitted') return { kind: 'admitted', pass: outcome.admission };
    if (outcome.kind !== 'refused') return { kind: 'refused', waitMs: SHORTEST_RETRY_MS };
    const waitMs = Math.max(SHORTEST_RETRY_MS, outcome.denial.until - outcome.denial.now);
    return { kind: 'refused', waitMs: Math.min(LONGEST_RETRY_MS, waitMs) };
  }

  succeeded(pass: Admission, inputTokens: number, statements: readonly LimitStatement[]): void {
    this.clock.witness();
    this.governor.succeeded(pass, statements);
    this.governor.amend(pass, inputTokens);
  }

  async refused(pass: Admission, facts: UpstreamRefusalFacts): Promise<void> {
    const { transient, waitMs, statements } = facts;
    const kind = transient ? 'transient' : waitMs === null ? 'unknown' : 'quota';
    const refusal = { status: 429, kind, statedWaitMs: waitMs, limits: [], statements } as const;
    await this.governor.refused(pass, Promise.resolve(refusal));
    this.governor.settle(pass, { kind: 'not-a-success' });
  }

  async overloaded(pass: Admission): Promise<void> {
    await this.governor.overloaded(pass, null);
    this.governor.settle(pass, { kind: 'not-a-success' });
  }

  finished(pass: Admission, usage: Usage): void {
    const { inputTokens, cachedTokens, outputTokens } = usage;
    const relayedOutputTokens = outputTokens;
    this.governor.settle(pass, {
      kind: 'success',
      whole: true,
      complete: true,
      inputTokens,
      cachedTokens,
      outputTokens,
      relayedOutputTokens,
    });
  }

  tick(): Promise<void> {
    return this.governor.tick();
  }

  async stop(): Promise<void> {
    await this.governor.stop(STOP_MS);
    if (!this.repository.shared) await this.repository.close();
    this.kill();
  }

  kill(): void {
    this.timers.dead = true;
  }
}

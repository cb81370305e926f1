import type { AddressInfo } from 'node:net';
import { BackoffPolicy } from './backoff/backoff-policy.js';
import { BudgetController } from './budget/budget-controller.js';
import { CalibrationStore } from './calibration/calibration-store.js';
import type { Config, UpstreamConfig } from './config/config.js';
import { fingerprinter, scopeResolver, tellsOrganizations } from './config/scope-resolver.js';
import { dialectOf } from './dialects/dialects.js';
import type { EventListener } from './governor/events.js';
import { Governor } from './governor/governor.js';
import type { Policies } from './governor/policies.js';
import { History } from './history/history.js';
import { openJournal } from './open-journal.js';
import { openRepository } from './open-repository.js';
import type { SteadyClock } from './platform/clock.js';
import type { Log } from './platform/log.js';
import { RotatingLog } from './platform/rotating-log.js';
import { SYSTEM_RANDOM } from './platform/random.js';
import { SYSTEM_TIMERS, withDeadline } from './platform/timers.js';
import type { Route } from './proxy/route.js';
import { UpstreamProxy } from './proxy/upstream-proxy.js';
import type { StateRepository } from './state/state-repository.js';
import { reasonOf } from './platform/tidegate-error.js';

/** Injection token of the running DataPlane. */
export const DATA_PLANE = Symbol('DataPlane');

/** How long the ports wait for the start to be on record; a write takes some milliseconds. */
const RECORD_MS = 1_000;
/** How long a stop waits for the last corrections to become durable, after the drain. */
export const SETTLE_MS = 5_000;
/** And for each part to close: a disk that hangs never answers. */
export const CLOSE_MS = { listeners: 1_000, journals: 2_000, state: 2_500, accessLog: 1_000 };
/**
 * What a stop takes beside the drain, at most: a second for the job, one for exchanges that were cut off, 11.5 s for
 * the above, and the rest for a machine that is busy.
 */
export const AFTER_DRAIN_MS = 15_000;

export interface DataPlaneOptions {
  readonly clock: SteadyClock;
  readonly log: Log;
  /** Told of every change of a scope once it is durable. */
  readonly report: EventListener;
}

export type Phase = 'starting' | 'serving' | 'draining' | 'stopped';

/**
 * Everything a request passes through, put together in one place and without Nest: after a restart
 * the data port answers before Nest is even loaded. The Nest application is built around a running
 * data plane (data-plane.module.ts) and hands its parts to whoever injects them.
 */
export class DataPlane {
  readonly startedAt: number;
  #phase: Phase = 'starting';
  #stopping: Promise<boolean> | null = null;

  private constructor(
    readonly config: Config,
    readonly clock: SteadyClock,
    readonly log: Log,
    readonly repository: StateRepository,
    readonly policies: Policies,
    readonly governor: Governor,
    readonly history: History,
    readonly proxy: UpstreamProxy,
    /** Where the access log is written; null if none is kept. */
    readonly accessLog: RotatingLog | null,
  ) {
    this.startedAt = clock.now();
  }

  /** Opens the state; rejects if it is another instance's, newer, or to be refused as corrupt. */
  static async open(config: Config, options: DataPlaneOptions): Promise<DataPlane> {
    const { clock, log, report } = options;
    const { state, instance, loss } = config;
    const repository = await openRepository(state, {
      instance,
      loss,
      clock,
      onSetAside: ({ path, as, why }) =>
        log.warn('a file of the state cannot be used: it was set aside', { path, as, why }),
    });
    const policies = {
      budget: new BudgetController(config.controller),
      backoff: new BackoffPolicy(config.backoff),
      calibration: new CalibrationStore(),
    };
    const scopes = config.upstreams.flatMap((upstream) => [
      upstream.defaultScope,
      ...upstream.scopes,
    ]);
    const history = new History({
      repository,
      journal: await openJournal(state, instance),
      scopes,
      timers: SYSTEM_TIMERS,
      onProblem: (problem) => tellOfJournal(problem, log),
    });
    const governor = new Governor({
      repository,
      policies,
      scopes,
      instance,
      observe: config.mode === 'observe',
      tickMs: config.tickMs,
      timers: SYSTEM_TIMERS,
      random: SYSTEM_RANDOM,
      report: (scope, event, record) => {
        report(scope, event, record);
        history.take(scope, record);
      },
    });
    await governor.load().catch(async (error: unknown) => {
      await withDeadline(SYSTEM_TIMERS, CLOSE_MS.state, repository.close(), undefined);
      throw error;
    });
    const lines = openAccessLog(config, log);
    const proxy = openProxy(config, { governor, history, clock, log, lines });
    return new DataPlane(config, clock, log, repository, policies, governor, history, proxy, lines);
  }

  get phase(): Phase {
    return this.#phase;
  }

  /**
   * Records the start and opens the data ports. A state that can't be written does not keep them shut:
   * requests then wait for the record, two seconds at most, and get an honest answer.
   */
  async listen(): Promise<readonly AddressInfo[]> {
    const recorded = this.governor.start().then(() => {
      if (this.#phase === 'starting') this.#phase = 'serving';
      // What a run before this one did not come to.
      void this.history.upkeep(this.clock.now());
    });
    if (this.repository.health().healthy) {
      await withDeadline(SYSTEM_TIMERS, RECORD_MS, recorded, undefined);
    }
    return this.proxy.listen();
  }

  /** Admits nothing more; resolves when the last stream is over or cut off. */
  drain(): Promise<void> {
    this.#phase = 'draining';
    return this.proxy.drain(this.config.drainMs);
  }

  /**
   * Drains, makes everything durable, records a clean stop and closes; resolves in any case, to whether all of
   * it was done. What was not is told, and may hang for as long as its disk does.
   */
  stop(): Promise<boolean> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<boolean> {
    if (this.#phase !== 'draining') await this.drain();
    const late: string[] = [];
    let failed = false;
    const ends = async (part: string, end: Promise<boolean>) => {
      try {
        if (!(await end)) late.push(part);
      } catch (error) {
        failed = true;
        const problem = reasonOf(error);
        this.log.error('the stop is not clean: a part of it failed', { part, problem });
      }
    };
    await ends('listeners', inTime(CLOSE_MS.listeners, this.proxy.close()));
    await ends('record of the stop', this.governor.stop(SETTLE_MS));
    await ends('journals', inTime(CLOSE_MS.journals, this.history.close()));
    await ends('state', inTime(CLOSE_MS.state, this.repository.close()));
    if (this.accessLog !== null)
      await ends('access log', inTime(CLOSE_MS.accessLog, this.accessLog.close()));
    this.#phase = 'stopped';
    if (late.length > 0)
      this.log.error('the stop is not clean: its time was over', { late: late.join(', ') });
    return late.length === 0 && !failed;
  }
}

function inTime(ms: number, end: Promise<unknown>): Promise<boolean> {
  return withDeadline(
    SYSTEM_TIMERS,
    ms,
    end.then(() => true),
    false,
  );
}

/** What one file of the access log holds, and how many older ones are kept. */
const ACCESS_LOG_BYTES = 64 * 1024 * 1024;
const ACCESS_LOGS_KEPT = 5;

function openAccessLog({ accessLog: path }: Config, log: Log): RotatingLog | null {
  if (path === null) return null;
  const lines: RotatingLog = new RotatingLog({
    path,
    mostBytes: ACCESS_LOG_BYTES,
    keep: ACCESS_LOGS_KEPT,
    onProblem: (problem) => {
      const { dropped } = lines;
      if (problem === null) log.info('the access log is written again', { dropped });
      else log.warn('the access log: requests are served, lines wait', { problem });
    },
  });
  return lines;
}

function tellOfJournal(problem: string | null, log: Log): void {
  if (problem === null) log.info('the event journal is written again');
  else log.warn('the event journal: requests are served, events wait', { problem });
}

interface ProxyParts extends Pick<DataPlane, 'governor' | 'history' | 'clock' | 'log'> {
  readonly lines: RotatingLog | null;
}

function openProxy(config: Config, parts: ProxyParts): UpstreamProxy {
  const { governor, history, clock, log, lines } = parts;
  return new UpstreamProxy({
    routes: config.upstreams.map((upstream) => routeTo(upstream, governor)),
    governor,
    observe: config.mode === 'observe',
    maxRetryAfterMs: config.maxRetryAfterMs,
    timers: SYSTEM_TIMERS,
    now: () => clock.now(),
    onDate: (date) => clock.witness(date),
    onRefused: (refusal) => history.note(refusal),
    onAccess: lines && ((line) => void lines.write(line)),
    log,
  });
}

function routeTo(upstream: UpstreamConfig, governor: Governor): Route {
  const keys = governor.keysOf(upstream.defaultScope.name);
  const print = fingerprinter(upstream);
  return {
    ...upstream,
    dialect: dialectOf(upstream),
    scopeOf: scopeResolver(upstream, (key) => keys.organizationOf(key)),
    onOrganization: tellsOrganizations(upstream)
      ? (header, organization) => {
          const key = print(header);
          if (key !== null) void keys.learn(key, organization);
        }
      : null,
  };
}

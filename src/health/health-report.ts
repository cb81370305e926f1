import { Inject, Injectable } from '@nestjs/common';
import { type HealthIndicatorResult, HealthIndicatorService } from '@nestjs/terminus';
import { DATA_PLANE, type DataPlane } from '../data-plane.js';
import { type BlockedPool, blockedPools } from '../governor/blocked-pools.js';
import type { ScopeView } from '../governor/scope-view.js';
import { rfc3339 } from '../platform/clock.js';
import { JobRecord } from '../schedule/job-record.js';

/** This many periods without a run that succeeded are worth telling. */
const MISSED_RUNS = 3;

/** Why a scope is cautious, in words. */
const CAUTION: Readonly<Record<NonNullable<ScopeView['cautious']>['reason'], string>> = {
  corrupt: 'the state was damaged beyond repair',
  missing: 'the state was missing',
  restored: 'the state was damaged, and what could be was restored',
  altered: 'the state was edited by hand, or a bit of it was wrong',
  empty: 'there was no state',
  'rolled-back': 'the state was older than what had been there',
  clock: 'the clock was more than an hour behind the state',
};

/**
 * What the probes tell. `down` takes the instance out of service, so it is kept for what another
 * instance does not share: starting, draining, a failing disk of its own. `degraded` is told with 200.
 */
@Injectable()
export class HealthReport {
  constructor(
    @Inject(DATA_PLANE) private readonly plane: DataPlane,
    @Inject(HealthIndicatorService) private readonly indicators: HealthIndicatorService,
    @Inject(JobRecord) private readonly job: JobRecord,
  ) {}

  /** Starting, serving or draining. */
  instance(): HealthIndicatorResult {
    const { phase } = this.plane;
    const session = this.indicators.check('instance');
    return phase === 'serving' ? session.up({ phase }) : session.down({ phase });
  }

  /** The start is on record; true from then on. */
  started(): HealthIndicatorResult {
    const { phase } = this.plane;
    const session = this.indicators.check('instance');
    return phase === 'starting' ? session.down({ phase }) : session.up({ phase });
  }

  /** Whether the state can be written. */
  store(): HealthIndicatorResult {
    const { kind, shared } = this.plane.repository;
    const { healthy, problem } = this.plane.repository.health();
    const session = this.indicators.check('store');
    if (healthy && problem === null) return session.up({ kind });
    const told = { kind, problem: problem ?? 'unknown' };
    if (healthy) return session.degraded(told);
    // Every replica meets a shared store's failure: out of service they would refuse connections
    // instead of answering an honest 503.
    return shared ? session.degraded(told) : session.down(told);
  }

  /** Whether the scheduled job runs. */
  jobs(): HealthIndicatorResult {
    const session = this.indicators.check('job');
    const { clock, config, startedAt } = this.plane;
    const since = this.job.succeededAt ?? startedAt;
    const late = clock.now() - since > MISSED_RUNS * config.tickMs;
    const told = {
      lastSuccess: rfc3339(this.job.succeededAt),
      failure: this.job.failure,
    };
    return late ? session.degraded(told) : session.up(told);
  }

  /** Whether logs can be written; requests are served all the same. */
  logs(): HealthIndicatorResult {
    const session = this.indicators.check('logs');
    const logs = [this.plane.history, this.plane.accessLog];
    const problems = logs.flatMap((log) => log?.problem ?? []);
    const dropped = logs.reduce((sum, log) => sum + (log?.dropped ?? 0), 0);
    return problems.length === 0 ? session.up() : session.degraded({ problems, dropped });
  }

  /** Who is blocked, why, and until when. Nothing of it takes the instance out of service. */
  async scope(name: string): Promise<HealthIndicatorResult> {
    const session = this.indicators.check(`scope:${name}`);
    let view: ScopeView;
    try {
      view = await this.plane.governor.view(name);
    } catch (error) {
      return session.degraded({ problem: error instanceof Error ? error.message : 'unreadable' });
    }
    const told = {
      state: view.state,
      blockedUntil: rfc3339(view.blockedUntil),
      because: view.state === 'exhausted' ? null : (view.cooldown?.kind ?? null),
      pools: blockedPools(view).map(poolTold),
    };
    const warnings = this.#warningsOf(view);
    return warnings.length === 0 ? session.up(told) : session.degraded({ ...told, warnings });
  }

  #warningsOf(view: ScopeView): string[] {
    const warnings: string[] = [];
    const { cautious, starts, calibration } = view;
    if (cautious !== null) {
      warnings.push(
        `cautious until ${rfc3339(cautious.until)}: ${CAUTION[cautious.reason]} ` +
          `(${cautious.reason}); budgets are at their floor`,
      );
    }
    if (starts.crashLoop) {
      warnings.push(
        `crash loop: ${starts.unclean} unclean starts in two hours; budgets are not raised`,
      );
    }
    if (this.plane.policies.calibration.contradictsBudget(calibration)) {
      warnings.push(
        `the upstream refused ${calibration.belowFloorInARow} times in a row below the floor of the ` +
          'budget: lower TIDEGATE_BUDGET',
      );
    }
    return warnings;
  }
}

function poolTold({ limit, models, state, blockedUntil, because }: BlockedPool) {
  return { limit, models, state, blockedUntil: rfc3339(blockedUntil), because };
}

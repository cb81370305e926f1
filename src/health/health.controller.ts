import { Controller, Get, Inject } from '@nestjs/common';
import { HealthCheck, type HealthCheckResult, HealthCheckService } from '@nestjs/terminus';
import { Governor } from '../governor/governor.js';
import { HealthReport } from './health-report.js';
import { UpstreamReach } from './upstream-reach.js';

/** Probes for orchestrators. Liveness depends on nothing: a restart cures no upstream and no cooldown. */
@Controller('health')
export class HealthController {
  constructor(
    @Inject(HealthCheckService) private readonly checks: HealthCheckService,
    @Inject(HealthReport) private readonly report: HealthReport,
    @Inject(UpstreamReach) private readonly reach: UpstreamReach,
    @Inject(Governor) private readonly governor: Governor,
  ) {}

  @Get('live')
  @HealthCheck()
  live(): Promise<HealthCheckResult> {
    return this.checks.check([]);
  }

  @Get('ready')
  @HealthCheck()
  ready(): Promise<HealthCheckResult> {
    return this.checks.check([
      () => this.report.instance(),
      () => this.report.store(),
      () => this.report.jobs(),
      () => this.report.logs(),
      ...this.governor.scopes.map((scope) => () => this.report.scope(scope)),
    ]);
  }

  @Get('startup')
  @HealthCheck()
  startup(): Promise<HealthCheckResult> {
    return this.checks.check([() => this.report.started()]);
  }

  /** Asks the upstreams themselves, so only when a person asks: no probe may cost upstream requests. */
  @Get('upstream')
  @HealthCheck()
  upstream(): Promise<HealthCheckResult> {
    return this.checks.check(this.reach.indicators());
  }
}

import { Controller, Get, Header, Inject, UseGuards } from '@nestjs/common';
import { Registry } from 'prom-client';
import { AdminAccess } from '../admin/admin-access.js';
import { MetricsReport } from './metrics-report.js';

/** For Prometheus. Scope names and budgets are the operator's business: guarded like /status. */
@Controller()
@UseGuards(AdminAccess)
export class MetricsController {
  constructor(@Inject(MetricsReport) private readonly report: MetricsReport) {}

  @Get('metrics')
  @Header('content-type', Registry.PROMETHEUS_CONTENT_TYPE)
  metrics(): Promise<string> {
    return this.report.scrape();
  }
}

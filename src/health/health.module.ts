import { HttpModule } from '@nestjs/axios';
import { Module } from '@nestjs/common';
import { TerminusModule } from '@nestjs/terminus';
import { GovernorModule } from '../governor/governor.module.js';
import { ScheduleModule } from '../schedule/schedule.module.js';
import { HealthReport } from './health-report.js';
import { HealthController } from './health.controller.js';
import { UpstreamReach } from './upstream-reach.js';

@Module({
  imports: [TerminusModule.forRoot({ logger: false }), HttpModule, GovernorModule, ScheduleModule],
  controllers: [HealthController],
  providers: [HealthReport, UpstreamReach],
})
export class HealthModule {}

import { Module } from '@nestjs/common';
import { AdminAccess } from '../admin/admin-access.js';
import { ScheduleModule } from '../schedule/schedule.module.js';
import { MetricsReport } from './metrics-report.js';
import { MetricsController } from './metrics.controller.js';

@Module({
  imports: [ScheduleModule],
  controllers: [MetricsController],
  providers: [AdminAccess, MetricsReport],
})
export class MetricsModule {}

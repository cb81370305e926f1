import { Module } from '@nestjs/common';
import { ScheduleModule } from '../schedule/schedule.module.js';
import { MetricsReport } from './metrics-report.js';
import { MetricsController } from './metrics.controller.js';

@Module({
  imports: [ScheduleModule],
  controllers: [MetricsController],
  providers: [MetricsReport],
})
export class MetricsModule {}

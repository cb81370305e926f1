import { Module } from '@nestjs/common';
import { ScheduleModule as NestScheduleModule } from '@nestjs/schedule';
import { GovernorModule } from '../governor/governor.module.js';
import { GovernorJob } from './governor-job.js';
import { JobRecord } from './job-record.js';

@Module({
  imports: [NestScheduleModule.forRoot(), GovernorModule],
  providers: [GovernorJob, JobRecord],
  exports: [GovernorJob, JobRecord],
})
export class ScheduleModule {}

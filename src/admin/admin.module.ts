import { Module } from '@nestjs/common';
import { GovernorModule } from '../governor/governor.module.js';
import { AdminController } from './admin.controller.js';
import { EventsController } from './events.controller.js';
import { ExplainController } from './explain.controller.js';

@Module({
  imports: [GovernorModule],
  controllers: [AdminController, EventsController, ExplainController],
})
export class AdminModule {}

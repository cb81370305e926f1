import { Module } from '@nestjs/common';
import { GovernorModule } from '../governor/governor.module.js';
import { AdminAccess } from './admin-access.js';
import { AdminController } from './admin.controller.js';

@Module({
  imports: [GovernorModule],
  controllers: [AdminController],
  providers: [AdminAccess],
})
export class AdminModule {}

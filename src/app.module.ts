import { type DynamicModule, Module } from '@nestjs/common';
import { AdminModule } from './admin/admin.module.js';
import { BackoffModule } from './backoff/backoff.module.js';
import { BudgetModule } from './budget/budget.module.js';
import { CalibrationModule } from './calibration/calibration.module.js';
import type { DataPlane } from './data-plane.js';
import { DataPlaneModule } from './data-plane.module.js';
import { GovernorModule } from './governor/governor.module.js';
import { HealthModule } from './health/health.module.js';
import { MetricsModule } from './metrics/metrics.module.js';
import { ProxyModule } from './proxy/proxy.module.js';
import { ScheduleModule } from './schedule/schedule.module.js';
import { StateModule } from './state/state.module.js';

/** The Nest application: the control plane, around a data plane that is already serving. */
@Module({})
export class AppModule {
  static around(plane: DataPlane): DynamicModule {
    return {
      module: AppModule,
      imports: [
        DataPlaneModule.around(plane),
        StateModule,
        BudgetModule,
        BackoffModule,
        CalibrationModule,
        GovernorModule,
        ProxyModule,
        ScheduleModule,
        HealthModule,
        AdminModule,
        MetricsModule,
      ],
    };
  }
}

import { Module } from '@nestjs/common';
import { DATA_PLANE, type DataPlane } from '../data-plane.js';
import { BudgetController } from './budget-controller.js';

@Module({
  providers: [
    {
      provide: BudgetController,
      inject: [DATA_PLANE],
      useFactory: (plane: DataPlane) => plane.policies.budget,
    },
  ],
  exports: [BudgetController],
})
export class BudgetModule {}

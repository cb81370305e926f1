import { Module } from '@nestjs/common';
import { DATA_PLANE, type DataPlane } from '../data-plane.js';
import { Governor } from './governor.js';

@Module({
  providers: [
    {
      provide: Governor,
      inject: [DATA_PLANE],
      useFactory: (plane: DataPlane) => plane.governor,
    },
  ],
  exports: [Governor],
})
export class GovernorModule {}

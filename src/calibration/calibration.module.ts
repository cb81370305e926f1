import { Module } from '@nestjs/common';
import { DATA_PLANE, type DataPlane } from '../data-plane.js';
import { CalibrationStore } from './calibration-store.js';

@Module({
  providers: [
    {
      provide: CalibrationStore,
      inject: [DATA_PLANE],
      useFactory: (plane: DataPlane) => plane.policies.calibration,
    },
  ],
  exports: [CalibrationStore],
})
export class CalibrationModule {}

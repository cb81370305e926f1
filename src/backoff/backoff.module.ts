import { Module } from '@nestjs/common';
import { DATA_PLANE, type DataPlane } from '../data-plane.js';
import { BackoffPolicy } from './backoff-policy.js';

@Module({
  providers: [
    {
      provide: BackoffPolicy,
      inject: [DATA_PLANE],
      useFactory: (plane: DataPlane) => plane.policies.backoff,
    },
  ],
  exports: [BackoffPolicy],
})
export class BackoffModule {}

import { Module } from '@nestjs/common';
import { DATA_PLANE, type DataPlane } from '../data-plane.js';
import { STATE_REPOSITORY } from './state-repository.js';

@Module({
  providers: [
    {
      provide: STATE_REPOSITORY,
      inject: [DATA_PLANE],
      useFactory: (plane: DataPlane) => plane.repository,
    },
  ],
  exports: [STATE_REPOSITORY],
})
export class StateModule {}

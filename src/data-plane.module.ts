import { type DynamicModule, Module } from '@nestjs/common';
import { CONFIG } from './config/config.js';
import { DATA_PLANE, type DataPlane } from './data-plane.js';

/**
 * Hands the running data plane to the container. Global, for the module of every room takes its part
 * out of it; they can't build it themselves, since it was serving before Nest was loaded.
 */
@Module({})
export class DataPlaneModule {
  static around(plane: DataPlane): DynamicModule {
    return {
      module: DataPlaneModule,
      global: true,
      providers: [
        { provide: DATA_PLANE, useValue: plane },
        { provide: CONFIG, useValue: plane.config },
      ],
      exports: [DATA_PLANE, CONFIG],
    };
  }
}

import { Module } from '@nestjs/common';
import { DATA_PLANE, type DataPlane } from '../data-plane.js';
import { ProxyLifecycle } from './proxy-lifecycle.js';
import { UpstreamProxy } from './upstream-proxy.js';

@Module({
  providers: [
    {
      provide: UpstreamProxy,
      inject: [DATA_PLANE],
      useFactory: (plane: DataPlane) => plane.proxy,
    },
    ProxyLifecycle,
  ],
  exports: [UpstreamProxy],
})
export class ProxyModule {}

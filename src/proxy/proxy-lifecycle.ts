import {
  type BeforeApplicationShutdown,
  Inject,
  Injectable,
  type OnApplicationShutdown,
} from '@nestjs/common';
import { DATA_PLANE, type DataPlane } from '../data-plane.js';

/**
 * Ties the data plane's end to the application's: streams finish while the control plane still
 * answers, so that probes see the drain, and the state is closed last.
 */
@Injectable()
export class ProxyLifecycle implements BeforeApplicationShutdown, OnApplicationShutdown {
  constructor(@Inject(DATA_PLANE) private readonly plane: DataPlane) {}

  async beforeApplicationShutdown(): Promise<void> {
    await this.plane.drain();
  }

  async onApplicationShutdown(): Promise<void> {
    await this.plane.stop();
  }
}

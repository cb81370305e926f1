import { Inject, Injectable } from '@nestjs/common';
import { DATA_PLANE, type DataPlane } from '../data-plane.js';
import { reasonOf } from '../platform/tidegate-error.js';

/** How the scheduled job has fared; health tells when it has not for too long. */
@Injectable()
export class JobRecord {
  #succeededAt: number | null = null;
  #failure: string | null = null;

  constructor(@Inject(DATA_PLANE) private readonly plane: DataPlane) {}

  /** Epoch ms; null before the first run. */
  get succeededAt(): number | null {
    return this.#succeededAt;
  }

  /** Why the latest run failed; null if it did not. */
  get failure(): string | null {
    return this.#failure;
  }

  succeeded(): void {
    if (this.#failure !== null) this.plane.log.info('the scheduled job succeeds again');
    this.#succeededAt = this.plane.clock.now();
    this.#failure = null;
  }

  /** Told in the log once, and not with every run: health says how long it has been so, and why. */
  failed(error: unknown): void {
    const failure = reasonOf(error);
    if (this.#failure === null) this.plane.log.warn('the scheduled job failed', { failure });
    this.#failure = failure;
  }
}

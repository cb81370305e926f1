import { Inject, Injectable } from '@nestjs/common';
import { DATA_PLANE, type DataPlane } from '../data-plane.js';

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
    this.#succeededAt = this.plane.clock.now();
    this.#failure = null;
  }

  failed(error: unknown): void {
    this.#failure = error instanceof Error ? error.message : String(error);
  }
}

import { TidegateError } from '../../src/platform/tidegate-error.js';
import type { Decide, StateRepository } from '../../src/state/state-repository.js';

/**
 * - `works`
 * - `unavailable`: nothing is written, and the caller hears so
 * - `unknown-kept`, `unknown-lost`: the caller can't know; it was written, or was not
 * - `hangs`: no answer until it works again
 */
export type Fault = 'works' | 'unavailable' | 'unknown-kept' | 'unknown-lost' | 'hangs';

/** A store whose writes fail as told. */
export class FaultyRepository implements StateRepository {
  fault: Fault = 'works';
  #resume: (() => void)[] = [];

  constructor(private readonly inner: StateRepository) {}

  get kind() {
    return this.inner.kind;
  }

  get shared() {
    return this.inner.shared;
  }

  /** Lets what hangs go on, and works again. */
  mend(): void {
    this.fault = 'works';
    for (const resume of this.#resume.splice(0)) resume();
  }

  async update<Outcome>(scope: string, decide: Decide<Outcome>): Promise<Outcome> {
    if (this.fault === 'hangs') await new Promise<void>((resume) => this.#resume.push(resume));
    switch (this.fault) {
      case 'unavailable':
        throw new TidegateError('STATE_UNAVAILABLE', 'the disk is full');
      case 'unknown-lost':
        throw new TidegateError('STATE_UNKNOWN', 'fsync failed');
      case 'unknown-kept':
        await this.inner.update(scope, decide);
        throw new TidegateError('STATE_UNKNOWN', 'fsync failed');
      default:
        return this.inner.update(scope, decide);
    }
  }

  read(scope: string) {
    return this.inner.read(scope);
  }

  list() {
    return this.inner.list();
  }

  health() {
    return this.inner.health();
  }

  close() {
    return this.inner.close();
  }
}

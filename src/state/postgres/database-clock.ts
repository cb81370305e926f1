import type { TimeSources } from '../../platform/clock.js';

/**
 * The database's clock between two readings of it, carried on by this machine's monotonic one.
 *
 * A reading is older than its arrival, so what is told here lies behind the database's clock by the
 * way of the answer, and never ahead of it, as long as both run evenly. Whoever decides by it has
 * the database check that it lies close: a clock that was set, or a machine that slept, is found out.
 */
export class DatabaseClock {
  readonly #monotonic: TimeSources['monotonic'];
  #reading: number | null = null;
  #arrivedAt = 0;

  constructor(monotonic: TimeSources['monotonic']) {
    this.#monotonic = monotonic;
  }

  /** An answer has come: epoch ms with a fraction. */
  read(databaseNow: number): void {
    this.#reading = databaseNow;
    this.#arrivedAt = this.#monotonic();
  }

  /** Null before the first reading. */
  now(): number | null {
    if (this.#reading === null) return null;
    return this.#reading + this.#monotonic() - this.#arrivedAt;
  }
}

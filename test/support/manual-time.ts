import type { TimeSources } from '../../src/platform/clock.js';
import type { Cancel, Timers } from '../../src/platform/timers.js';

/** Time that moves only when told to: the sources of a SteadyClock, and timers that go by it. */
export class ManualTime implements TimeSources, Timers {
  #elapsedMs = 0;
  #wallOffsetMs: number;
  #waiting: { readonly at: number; readonly call: () => void }[] = [];

  constructor(wall = Date.UTC(2025, 10, 23)) {
    this.#wallOffsetMs = wall;
  }

  wall(): number {
    return this.#wallOffsetMs + this.#elapsedMs;
  }

  monotonic(): number {
    return this.#elapsedMs;
  }

  uptime(): number {
    return this.#elapsedMs;
  }

  after(delayMs: number, call: () => void): Cancel {
    const timer = { at: this.#elapsedMs + delayMs, call };
    this.#waiting.push(timer);
    return () => {
      this.#waiting = this.#waiting.filter((waiting) => waiting !== timer);
    };
  }

  /** How many timers wait. */
  get pending(): number {
    return this.#waiting.length;
  }

  /** Passes time, and makes the calls that fall due, in their order. */
  advance(ms: number): void {
    const end = this.#elapsedMs + ms;
    for (;;) {
      const [next] = this.#waiting.toSorted((a, b) => a.at - b.at);
      if (next === undefined || next.at > end) break;
      this.#waiting = this.#waiting.filter((waiting) => waiting !== next);
      this.#elapsedMs = Math.max(this.#elapsedMs, next.at);
      next.call();
    }
    this.#elapsedMs = Math.max(this.#elapsedMs, end);
  }

  /** Passes time in which no timer gets its turn. */
  lag(ms: number): void {
    this.#elapsedMs += ms;
  }

  /** Somebody sets the wall clock. */
  stepWall(ms: number): void {
    this.#wallOffsetMs += ms;
  }
}

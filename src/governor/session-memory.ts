import type { SessionTrail } from '../calibration/estimate.js';

/** This many conversations are remembered for sure, and up to twice as many at times. */
const MOST_SESSIONS = 2_048;

/**
 * What this process remembers of each conversation's last request, to estimate the next one's growth.
 * A hint only and not durable: without it the estimate is that of the whole body, so never too low for
 * being forgotten.
 */
export class SessionMemory {
  /*
   * Two generations instead of an order of use: what was not used while a generation filled up goes
   * with the one before it. To move a key to the end of one Map on each use leaves holes at its
   * start, which the search for the oldest then steps over one by one (measured: 3 µs a request).
   */
  #young = new Map<string, SessionTrail>();
  #old = new Map<string, SessionTrail>();

  get(session: string): SessionTrail | null {
    return this.#young.get(session) ?? this.#old.get(session) ?? null;
  }

  set(session: string, trail: SessionTrail): void {
    if (this.#young.size >= MOST_SESSIONS && !this.#young.has(session)) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(session, trail);
  }
}

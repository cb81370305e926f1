import type { SessionTrail } from '../calibration/estimate.js';

/** More conversations at once than this lose the one unused for longest. */
const MOST_SESSIONS = 4_096;

/**
 * What this process remembers of each conversation's last request, to estimate the next one's growth.
 * A hint only and not durable: without it the estimate is that of the whole body, so never too low for
 * being forgotten.
 */
export class SessionMemory {
  readonly #trails = new Map<string, SessionTrail>();

  get(session: string): SessionTrail | null {
    return this.#trails.get(session) ?? null;
  }

  set(session: string, trail: SessionTrail): void {
    // Deleting first moves the key to the end: a Map iterates in order of insertion.
    this.#trails.delete(session);
    this.#trails.set(session, trail);
    if (this.#trails.size > MOST_SESSIONS) {
      const oldest = this.#trails.keys().next();
      if (!oldest.done) this.#trails.delete(oldest.value);
    }
  }
}

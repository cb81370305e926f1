import type { Timers } from '../platform/timers.js';
import type { AttemptOutcome } from './admission.js';

/** What a request waits in here at most, however often its time is put off. */
const LONGEST_MS = 6_000;
/** It does not ask again any sooner. */
const SHORTEST_MS = 50;
/** So many wait at once; who comes then is told to come back. */
const MOST_WAITING = 256;

/**
 * Waits, in a client's place, for what it was promised for now and is put off by moments. Who goes first is decided
 * where the promises are (waiting-line.ts). Not durable, and need not be: whoever waits has not been admitted.
 */
export class ShortWaits {
  readonly #waiting = new Set<() => void>();
  #closed = false;

  constructor(private readonly timers: Timers) {}

  /** Tries until there is another answer than "soon"; one that would take too long is returned as it is. */
  async wait(
    first: AttemptOutcome,
    attempt: () => Promise<AttemptOutcome>,
  ): Promise<AttemptOutcome> {
    let outcome = first;
    let leftMs = LONGEST_MS;
    while (outcome.kind === 'soon' && !this.#closed && this.#waiting.size < MOST_WAITING) {
      const { until, now } = outcome.denial;
      const waitMs = Math.max(SHORTEST_MS, until - now);
      leftMs -= waitMs;
      if (leftMs < 0) break;
      await this.#pause(waitMs);
      outcome = await attempt();
    }
    return outcome;
  }

  /** The process is about to end: what is due in a moment may be too late. */
  close(): void {
    this.#closed = true;
    for (const end of this.#waiting) end();
  }

  #pause(waitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        cancel();
        this.#waiting.delete(end);
        resolve();
      };
      const cancel = this.timers.after(waitMs, end);
      this.#waiting.add(end);
    });
  }
}

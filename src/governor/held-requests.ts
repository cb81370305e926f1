import type { Timers } from '../platform/timers.js';

/** What a request waits in here at most: longer than a round of the ramp. */
const LONGEST_MS = 6_000;
/** What another instance let go of is seen this much later. */
const LOOK_MS = 250;
/** So many wait at once; who comes then is told to come back. */
const MOST_WAITING = 256;
/** So many of them try at once, when all before them went. */
const MOST_TOGETHER = 64;

/**
 * Requests that are held back for a moment, first come first served. They wait here, for clients give up
 * after two or three refusals. Not durable, and need not be: whoever waits has not been admitted.
 *
 * The first in line tries alone. When it goes, the next two try together, then four: those that try
 * together share one write. One by one, a line that has formed would never be shorter than what comes
 * in the time of a write. One that is held back sends all back to the start.
 */
export class HeldRequests {
  readonly #waiting: Waiting[] = [];
  /** How many at the front of the line may try. */
  #together = 1;
  #closed = false;

  constructor(private readonly timers: Timers) {}

  /**
   * Tries, in turn, until the attempt is not held back any more, or has been for too long: what the last
   * one said of that is then the outcome.
   */
  wait<Outcome extends { readonly kind: string }>(
    attempt: () => Promise<Outcome>,
  ): Promise<Outcome> {
    if (this.#waiting.length > 0 && this.#waiting.length < MOST_WAITING) {
      return this.#stand(attempt, null);
    }
    return attempt().then((outcome) =>
      outcome.kind === 'held' ? this.#stand(attempt, outcome) : outcome,
    );
  }

  /** In line, if there is room. */
  async #stand<Outcome extends { readonly kind: string }>(
    attempt: () => Promise<Outcome>,
    first: Outcome | null,
  ): Promise<Outcome> {
    let outcome = first;
    if (this.#closed || this.#waiting.length >= MOST_WAITING) return outcome ?? attempt();
    const turn: Waiting = { look: () => {}, late: false };
    const cancel = this.timers.after(LONGEST_MS, () => giveUp(turn));
    this.#waiting.push(turn);
    try {
      while (!turn.late) {
        await this.#pause(turn);
        if (turn.late || !this.#front.includes(turn)) continue;
        outcome = await attempt();
        if (outcome.kind !== 'held') {
          this.#together = Math.min(2 * this.#together, MOST_TOGETHER);
          return outcome;
        }
        this.#together = 1;
      }
      return outcome ?? (await attempt());
    } finally {
      cancel();
      this.#waiting.splice(this.#waiting.indexOf(turn), 1);
      this.look();
    }
  }

  /** Something has changed: the first in line look whether they may go. */
  look(): void {
    for (const turn of this.#front) turn.look();
  }

  get #front(): readonly Waiting[] {
    return this.#waiting.slice(0, this.#together);
  }

  /** The process is about to end: nobody is worth waiting for any more. */
  close(): void {
    this.#closed = true;
    for (const turn of this.#waiting) giveUp(turn);
  }

  #pause(turn: Waiting): Promise<void> {
    return new Promise((resolve) => {
      const first = this.#waiting[0] === turn;
      const cancel = first ? this.timers.after(LOOK_MS, () => turn.look()) : null;
      turn.look = () => {
        cancel?.();
        resolve();
      };
    });
  }
}

interface Waiting {
  look: () => void;
  late: boolean;
}

function giveUp(turn: Waiting): void {
  turn.late = true;
  turn.look();
}

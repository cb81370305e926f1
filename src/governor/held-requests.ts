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
 * Requests that are held back for a moment, those of a model first come first served: one that waits near the
 * limit of some models keeps no other waiting. They wait here, for clients give up after two or three
 * refusals. Not durable, and need not be: whoever waits has not been admitted.
 *
 * The first in a line tries alone. When it goes, the next two try together, then four: those that try
 * together share one write. One by one, a line that has formed would never be shorter than what comes
 * in the time of a write. One that is held back sends all back to the start.
 */
export class HeldRequests {
  /** By model; a line goes with the last who waits in it. */
  readonly #lines = new Map<string, Line>();
  /** In all lines. */
  #waiting = 0;
  #closed = false;

  constructor(private readonly timers: Timers) {}

  /**
   * Tries, in turn, until the attempt is not held back any more, or has been for too long: what the last
   * one said of that is then the outcome.
   */
  wait<Outcome extends { readonly kind: string }>(
    model: string,
    attempt: () => Promise<Outcome>,
  ): Promise<Outcome> {
    if (this.#lines.has(model) && this.#waiting < MOST_WAITING) {
      return this.#stand(model, attempt, null);
    }
    return attempt().then((outcome) =>
      outcome.kind === 'held' ? this.#stand(model, attempt, outcome) : outcome,
    );
  }

  /** In line, if there is room. */
  async #stand<Outcome extends { readonly kind: string }>(
    model: string,
    attempt: () => Promise<Outcome>,
    first: Outcome | null,
  ): Promise<Outcome> {
    let outcome = first;
    if (this.#closed || this.#waiting >= MOST_WAITING) return outcome ?? attempt();
    const line = this.#lines.get(model) ?? new Line();
    this.#lines.set(model, line);
    this.#waiting += 1;
    const turn: Waiting = { look: () => {}, late: false };
    const cancel = this.timers.after(LONGEST_MS, () => giveUp(turn));
    line.waiting.push(turn);
    try {
      while (!turn.late) {
        await this.#pause(line, turn);
        if (turn.late || !line.front.includes(turn)) continue;
        outcome = await attempt();
        if (outcome.kind !== 'held') {
          line.together = Math.min(2 * line.together, MOST_TOGETHER);
          return outcome;
        }
        line.together = 1;
      }
      return outcome ?? (await attempt());
    } finally {
      cancel();
      this.#waiting -= 1;
      line.waiting.splice(line.waiting.indexOf(turn), 1);
      if (line.waiting.length === 0) this.#lines.delete(model);
      this.look();
    }
  }

  /** Something has changed: the first in each line look whether they may go. */
  look(): void {
    for (const line of this.#lines.values()) for (const turn of line.front) turn.look();
  }

  /** The process is about to end: nobody is worth waiting for any more. */
  close(): void {
    this.#closed = true;
    for (const line of this.#lines.values()) for (const turn of line.waiting) giveUp(turn);
  }

  #pause(line: Line, turn: Waiting): Promise<void> {
    return new Promise((resolve) => {
      const first = line.waiting[0] === turn;
      const cancel = first ? this.timers.after(LOOK_MS, () => turn.look()) : null;
      turn.look = () => {
        cancel?.();
        resolve();
      };
    });
  }
}

class Line {
  readonly waiting: Waiting[] = [];
  /** How many at the front of the line may try. */
  together = 1;

  get front(): readonly Waiting[] {
    return this.waiting.slice(0, this.together);
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

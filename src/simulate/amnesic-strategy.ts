import { clamped, initialBudget, PlainCounter } from './plain-counter.js';
import type { Process, Strategy } from './strategy.js';
import type { VirtualTime } from './virtual-time.js';
import type { World } from './world.js';

const HOUR = 3_600_000;
const RETRY_MS = 30_000;
const STEP = 1.03;
/** Less used than this looked like headroom. */
const EMPTY = 0.5;

/**
 * The incident's proxy: all of it in memory, so a restart sees a full budget; a 429 is answered with a
 * flat 30 s and recorded as a sample of what the counter then says; and a counter that is empty is taken
 * for headroom.
 */
export class AmnesicStrategy implements Strategy<null> {
  #budget = 0;

  constructor(
    private readonly world: World,
    private readonly time: VirtualTime,
  ) {}

  start(): Process<null> {
    const { world, time } = this;
    const counter = new PlainCounter(world.governor, time);
    const startedAt = time.elapsed;
    let raisedAt = startedAt;
    let blockedUntil = 0;
    this.#budget = initialBudget(world.governor);
    return {
      admit: () => {
        counter.roll();
        const { elapsed: now } = time;
        if (now < blockedUntil) return { kind: 'refused', waitMs: blockedUntil - now };
        if (counter.used >= this.#budget) return { kind: 'refused', waitMs: RETRY_MS };
        counter.open();
        return { kind: 'admitted', pass: null };
      },
      refused: () => {
        blockedUntil = time.elapsed + RETRY_MS;
      },
      finished: (_pass, { inputTokens, outputTokens }) => {
        counter.roll();
        counter.used += inputTokens + outputTokens;
      },
      tick: () => {
        counter.roll();
        if (time.elapsed - raisedAt < HOUR || counter.used > EMPTY * this.#budget) return;
        raisedAt = time.elapsed;
        this.#budget = clamped(world.governor, STEP * this.#budget);
      },
    };
  }

  budget(): number {
    return Math.round(this.#budget);
  }
}

import { clamped, initialBudget, PlainCounter } from './plain-counter.js';
import type { Process, Strategy } from './strategy.js';
import type { VirtualTime } from './virtual-time.js';
import type { World } from './world.js';

const HOUR = 3_600_000;
const RETRY_MS = 30_000;
/** Added each hour, as a share of the initial budget. */
const INCREASE = 0.03;
/** What is left of the budget after a refusal. */
const DECREASE = 0.5;

/** The textbook: additive increase, multiplicative decrease. Its memory is durable. */
export class AimdStrategy implements Strategy<null> {
  readonly #world: World;
  readonly #time: VirtualTime;
  readonly #counter: PlainCounter;
  #budget: number;
  #raisedAt = 0;
  #blockedUntil = 0;

  constructor(world: World, time: VirtualTime) {
    this.#world = world;
    this.#time = time;
    this.#counter = new PlainCounter(world.governor, time);
    this.#budget = initialBudget(world.governor);
  }

  start(): Process<null> {
    const { governor } = this.#world;
    const counter = this.#counter;
    return {
      admit: () => {
        counter.roll();
        const { elapsed: now } = this.#time;
        if (now < this.#blockedUntil) return { kind: 'refused', waitMs: this.#blockedUntil - now };
        if (counter.used >= this.#budget) return { kind: 'refused', waitMs: counter.waitMs };
        counter.open();
        return { kind: 'admitted', pass: null };
      },
      refused: (_pass, { waitMs }) => {
        const { elapsed: now } = this.#time;
        if (now < this.#blockedUntil) return;
        this.#blockedUntil = now + (waitMs ?? RETRY_MS);
        this.#budget = clamped(governor, DECREASE * this.#budget);
      },
      finished: (_pass, { inputTokens, outputTokens }) => {
        counter.roll();
        counter.used += inputTokens + outputTokens;
      },
      tick: () => {
        const { elapsed: now } = this.#time;
        if (now - this.#raisedAt < HOUR) return;
        this.#raisedAt = now;
        const increase = INCREASE * initialBudget(governor);
        this.#budget = clamped(governor, this.#budget + increase);
      },
    };
  }

  budget(): number {
    return Math.round(this.#budget);
  }
}

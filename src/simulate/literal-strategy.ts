import { clamped, initialBudget, PlainCounter } from './plain-counter.js';
import type { Answer, Process, Strategy, UpstreamRefusalFacts, Usage } from './strategy.js';
import type { VirtualTime } from './virtual-time.js';
import type { World } from './world.js';

const HOUR = 3_600_000;
/** "A margin below the limit that was learned": flat, whatever is known. */
const MARGIN = 0.97;
const STEP = 1.03;
const LEAST_USED = 0.05;
const MOST_SAMPLES = 50;
const PROBING_MS = 1_000;

/**
 * The incident article's own rules taken word for word: everything is durable, cooldowns climb a ladder
 * and end in one probe, the budget is a flat margin below the median of the samples, and it rises by
 * 3 % an hour if there was an hour of traffic, at least 5 % of the window is used, and no 429 came for a
 * window. Tokens are counted when an answer is complete.
 */
export class LiteralStrategy implements Strategy<boolean> {
  readonly #world: World;
  readonly #time: VirtualTime;
  readonly #counter: PlainCounter;
  #budget: number;
  #samples: number[] = [];
  #firstAt: number | null = null;
  #raisedAt = 0;
  #refusedAt: number | null = null;
  #rung = 0;
  #blockedUntil = 0;
  #probing = false;

  constructor(world: World, time: VirtualTime) {
    this.#world = world;
    this.#time = time;
    this.#counter = new PlainCounter(world.governor, time);
    this.#budget = initialBudget(world.governor);
  }

  start(): Process<boolean> {
    // A probe whose process died is no probe any more.
    this.#probing = false;
    return {
      admit: () => this.#admit(),
      succeeded: (probe) => this.#succeeded(probe),
      refused: (_probe, facts) => this.#refused(facts),
      overloaded: () => this.#pause(null),
      finished: (_probe, usage) => this.#finished(usage),
      tick: () => this.#tick(),
    };
  }

  budget(): number {
    return Math.round(this.#budget);
  }

  #admit(): Answer<boolean> {
    const { elapsed: now } = this.#time;
    this.#counter.roll();
    if (now < this.#blockedUntil) return { kind: 'refused', waitMs: this.#blockedUntil - now };
    if (this.#rung > 0) {
      if (this.#probing) return { kind: 'refused', waitMs: PROBING_MS };
      this.#probing = true;
      return { kind: 'admitted', pass: true };
    }
    if (this.#counter.used >= this.#budget) {
      return { kind: 'refused', waitMs: this.#counter.waitMs };
    }
    this.#firstAt ??= now;
    return { kind: 'admitted', pass: false };
  }

  #succeeded(probe: boolean): void {
    this.#counter.roll();
    this.#counter.open();
    if (!probe) return;
    this.#probing = false;
    this.#rung = 0;
  }

  #finished({ inputTokens, outputTokens }: Usage): void {
    this.#counter.roll();
    this.#counter.used += inputTokens + outputTokens;
  }

  #refused({ waitMs }: UpstreamRefusalFacts): void {
    const { elapsed: now } = this.#time;
    this.#counter.roll();
    // Concurrent refusals are one.
    if (now < this.#blockedUntil) return;
    this.#refusedAt = now;
    if (this.#counter.used > 0) {
      this.#samples = [...this.#samples, this.#counter.used].slice(-MOST_SAMPLES);
      this.#budget = clamped(this.#world.governor, MARGIN * median(this.#samples));
    }
    this.#pause(waitMs);
  }

  #pause(statedMs: number | null): void {
    const { ladderMs } = this.#world.governor;
    this.#rung += 1;
    this.#probing = false;
    const ladder = ladderMs[Math.min(this.#rung, ladderMs.length) - 1] ?? 0;
    this.#blockedUntil = this.#time.elapsed + (statedMs ?? ladder);
  }

  #tick(): void {
    const { elapsed: now } = this.#time;
    this.#counter.roll();
    if (now - this.#raisedAt < HOUR) return;
    if (this.#firstAt === null || now - this.#firstAt < HOUR) return;
    if (this.#counter.used < LEAST_USED * this.#budget) return;
    const { windowMs } = this.#world.governor;
    if (this.#refusedAt !== null && now - this.#refusedAt < windowMs) return;
    this.#raisedAt = now;
    this.#budget = clamped(this.#world.governor, STEP * this.#budget);
  }
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

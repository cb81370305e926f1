import type { Random } from '../platform/random.js';
import { meanOf, quantile, type Quantiles } from './quantiles.js';
import type { Request } from './strategy.js';
import { largestCost, type DemandWorld } from './world.js';

/** Tokens generated, as recorded on 4,420 requests of Claude Code: median, P90, P99. */
const OUTPUT: Quantiles = [
  [0.5, 206],
  [0.9, 806],
  [0.99, 3_432],
];
/** Of a request's cost, output is at most this share: a prompt is never empty. */
const MOST_OUTPUT = 0.8;
/** A conversation is compacted, or ends, once its prompt is this long. */
const LONGEST_PROMPT = 160_000;
/** Requests of a conversation on average. */
const REQUESTS = 55;
/** Bytes of JSON and text for each token of a prompt, and how far conversations differ in that. */
export const BYTES_PER_TOKEN = 3.7;
const BYTES_SPREAD = 0.25;
/** Part of the earlier prompt that the cache misses though it is warm, at most. */
const MOST_MISSED = 0.01;
/** A request that costs at least this many tokens may be one that found the cache cold. */
const COLD_FROM = 10_000;
/** Half of them do (recorded: 1.6 % of requests carry 54 % of the tokens). */
const COLD_SHARE = 0.5;
/** What is added to a prompt that is charged whole because the cache was cold. */
const COLD_GROWTH = 667;
const MODEL = 'simulated';

/** Costs and durations as a world describes them. */
export class DescribedTraffic {
  readonly #tokens: Quantiles;
  readonly #seconds: Quantiles;
  readonly #limit: () => number;
  #mean = { most: 0, tokens: 0 };

  constructor(
    { tokens, seconds }: DemandWorld,
    limit: () => number,
    private readonly random: Random,
  ) {
    this.#tokens = [
      [0.5, tokens.median],
      [0.9, tokens.p90],
      [0.99, tokens.p99],
    ];
    this.#seconds = [
      [0.5, seconds.median],
      [0.95, seconds.p95],
    ];
    this.#limit = limit;
  }

  /** Mean cost of a request. */
  meanCost(): number {
    const most = largestCost(this.#limit());
    if (this.#mean.most !== most) this.#mean = { most, tokens: meanOf(this.#tokens, most) };
    return this.#mean.tokens;
  }

  cost(): number {
    const most = largestCost(this.#limit());
    return Math.max(2, Math.round(Math.min(most, quantile(this.#tokens, this.random()))));
  }

  outputOf(cost: number): number {
    const output = Math.min(MOST_OUTPUT * cost, quantile(OUTPUT, this.random()));
    return Math.max(1, Math.round(output));
  }

  durationMs(): number {
    return 1_000 * quantile(this.#seconds, this.random());
  }
}

/** An agent's conversations, one after another: each request sends all that was said before. */
export class Conversation {
  readonly #traffic: DescribedTraffic;
  readonly #random: Random;
  #number = 0;
  #session = '';
  #bytesPerToken = BYTES_PER_TOKEN;
  #promptTokens = 0;
  #bodyBytes = 0;

  constructor(traffic: DescribedTraffic, random: Random) {
    this.#traffic = traffic;
    this.#random = random;
    this.#begin();
  }

  next(): Request {
    if (this.#promptTokens > LONGEST_PROMPT || this.#random() < 1 / REQUESTS) this.#begin();
    const cost = this.#traffic.cost();
    const outputTokens = this.#traffic.outputOf(cost);
    const inputTokens = cost - outputTokens;
    const { growth, cachedTokens } = this.#grow(inputTokens);
    this.#promptTokens += growth;
    this.#bodyBytes += Math.ceil(growth * this.#bytesPerToken);
    return {
      session: this.#session,
      model: MODEL,
      bodyBytes: this.#bodyBytes,
      inputTokens,
      cachedTokens,
      outputTokens,
      durationMs: this.#traffic.durationMs(),
    };
  }

  /** What of the input is new, and what of the prompt comes from the cache. */
  #grow(inputTokens: number): { growth: number; cachedTokens: number } {
    const before = this.#promptTokens;
    const growth = Math.ceil(COLD_GROWTH * this.#random());
    const mayBeCold = inputTokens >= COLD_FROM && before + growth >= inputTokens;
    if (mayBeCold && this.#random() < COLD_SHARE) {
      return { growth, cachedTokens: before + growth - inputTokens };
    }
    const missed = Math.min(inputTokens / 2, before * MOST_MISSED * this.#random());
    return {
      growth: Math.ceil(inputTokens - missed),
      cachedTokens: Math.floor(before - missed),
    };
  }

  #begin(): void {
    this.#number += 1;
    this.#session = `${this.#number}-${Math.floor(this.#random() * 1e9)}`;
    this.#bytesPerToken = BYTES_PER_TOKEN * (1 + BYTES_SPREAD * (2 * this.#random() - 1));
    this.#promptTokens = 0;
    this.#bodyBytes = 500;
  }
}

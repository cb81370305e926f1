import type { WindowResult } from './results.js';

interface OpenWindow {
  start: number;
  limit: number;
  admitted: number;
  others: number;
  upstream429: number;
  localRefusals: number;
  longestWaitMs: number;
  answered: number;
  givenUp: number;
}

const NOTHING_YET = {
  upstream429: 0,
  localRefusals: 0,
  longestWaitMs: 0,
  answered: 0,
  givenUp: 0,
};

/** Watches a run, window by window of the upstream's. */
export class Recorder {
  readonly windows: WindowResult[] = [];
  readonly budgets: (number | null)[] = [];
  maxConsecutive429 = 0;
  #consecutive429 = 0;
  #open: OpenWindow | null = null;
  /** What happens between two windows belongs to the next. */
  #between = { ...NOTHING_YET };

  /** @param budgetNow The budget in force, at the end of each window. */
  constructor(private readonly budgetNow: () => number | null) {}

  beginWindow(start: number, limit: number): void {
    this.#open = { start, limit, admitted: 0, others: 0, ...this.#between };
    this.#between = { ...NOTHING_YET };
  }

  endWindow(): void {
    const window = this.#open;
    if (window === null) return;
    this.#open = null;
    const { start, limit, admitted, others, longestWaitMs } = window;
    const { upstream429, localRefusals, answered, givenUp } = window;
    const left = Math.max(1, limit - others);
    this.windows.push({
      start,
      admittedTokens: Math.round(admitted),
      upstreamLimit: limit,
      othersTokens: Math.round(others),
      utilisation: Math.min(1, admitted / left),
      upstream429,
      localRefusals,
      longestWaitMs: Math.round(longestWaitMs),
      answered,
      givenUp,
    });
    this.budgets.push(this.budgetNow());
  }

  limitChanged(limit: number): void {
    if (this.#open !== null) this.#open.limit = limit;
  }

  charged(tokens: number): void {
    if (this.#open !== null) this.#open.admitted += tokens;
  }

  othersCharged(tokens: number): void {
    if (this.#open !== null) this.#open.others += tokens;
  }

  accepted(): void {
    this.#consecutive429 = 0;
  }

  refused(): void {
    this.#counts().upstream429 += 1;
    this.#consecutive429 += 1;
    this.maxConsecutive429 = Math.max(this.maxConsecutive429, this.#consecutive429);
  }

  locallyRefused(): void {
    this.#counts().localRefusals += 1;
  }

  /** An agent has waited this long for its request so far. */
  waited(waitMs: number): void {
    const counts = this.#counts();
    counts.longestWaitMs = Math.max(counts.longestWaitMs, waitMs);
  }

  answered(): void {
    this.#counts().answered += 1;
  }

  /** An agent has no retry left. */
  gaveUp(): void {
    this.#counts().givenUp += 1;
  }

  #counts(): Pick<OpenWindow, keyof typeof NOTHING_YET> {
    return this.#open ?? this.#between;
  }
}

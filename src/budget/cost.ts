import type { Unit } from '../state/scope-state.js';

/** What one request costs the upstream's limits, estimated or known. Whole numbers >= 0. */
export interface Cost {
  /** 1 for a request that reached the upstream, 0 for one that did not. */
  readonly requests: number;
  /** As the upstream's limits count them: no cache reads where those are free. */
  readonly inputTokens: number;
  readonly outputTokens: number;
}

export const NO_COST: Cost = { requests: 0, inputTokens: 0, outputTokens: 0 };

/** An answer that was not a success costs a request and no tokens. */
export const ONE_REQUEST: Cost = { requests: 1, inputTokens: 0, outputTokens: 0 };

/** What the upstream has counted for certain when its answer begins: the input, and nothing generated yet. */
export function countedOf({ requests, inputTokens }: Cost): Cost {
  return { requests, inputTokens, outputTokens: 0 };
}

/** What a cost exceeds another by. */
export function excessOf(cost: Cost, other: Cost): Cost {
  return {
    requests: Math.max(0, cost.requests - other.requests),
    inputTokens: Math.max(0, cost.inputTokens - other.inputTokens),
    outputTokens: Math.max(0, cost.outputTokens - other.outputTokens),
  };
}

/** The upstream took the request: no refusal generates or reads anything. */
export function isSuccess(cost: Cost): boolean {
  return cost.requests > 0 && cost.inputTokens + cost.outputTokens > 0;
}

export function amountIn(unit: Unit, cost: Cost): number {
  switch (unit) {
    case 'tokens':
      return cost.inputTokens + cost.outputTokens;
    case 'input_tokens':
      return cost.inputTokens;
    case 'output_tokens':
      return cost.outputTokens;
    case 'requests':
      return cost.requests;
  }
}

/** No request costs more than this: an upstream that says so is mistaken, and sums must stay exact. */
const MOST_TOKENS = 1_000_000_000;

export function bounded({ requests, inputTokens, outputTokens }: Cost): Cost {
  return {
    requests,
    inputTokens: Math.min(MOST_TOKENS, inputTokens),
    outputTokens: Math.min(MOST_TOKENS, outputTokens),
  };
}

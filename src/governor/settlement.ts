import { bounded, NO_COST, ONE_REQUEST, type Cost } from '../budget/cost.js';

/** How a request ended, as far as its cost is concerned. */
export type Settlement =
  /** The connection failed, or the client left before anything was sent. */
  | { readonly kind: 'not-sent' }
  /** It was sent and no status ever came. */
  | { readonly kind: 'no-answer' }
  /** A status other than 2xx. */
  | { readonly kind: 'not-a-success' }
  /** A 2xx; figures are null where none was seen. */
  | {
      readonly kind: 'success';
      /** The answer came to its end, and did not fail on the way. */
      readonly whole: boolean;
      /** The usage is the upstream's final word. */
      readonly complete: boolean;
      readonly inputTokens: number | null;
      readonly cachedTokens: number;
      readonly outputTokens: number | null;
      /** A floor for what was generated, judged by what was relayed. */
      readonly relayedOutputTokens: number;
    };

/** What a request that ended so has cost. Where something is unknown the estimate stands. */
export function costOf(settlement: Settlement, estimate: Cost): Cost {
  return bounded(statedCost(settlement, estimate));
}

function statedCost(settlement: Settlement, estimate: Cost): Cost {
  switch (settlement.kind) {
    case 'not-sent':
      return NO_COST;
    case 'no-answer':
      return estimate;
    case 'not-a-success':
      return ONE_REQUEST;
    case 'success':
      return {
        requests: 1,
        inputTokens: settlement.inputTokens ?? estimate.inputTokens,
        outputTokens: settlement.complete
          ? (settlement.outputTokens ?? estimate.outputTokens)
          : Math.max(
              settlement.outputTokens ?? estimate.outputTokens,
              settlement.relayedOutputTokens,
            ),
      };
  }
}

/** What `tidegate simulate --json` prints. Names are a contract. */
export interface SimulationResult {
  readonly windows: readonly WindowResult[];
  readonly totals: Totals;
  readonly strategy: StrategyName;
  readonly seed: number;
}

export type StrategyName = 'tidegate' | 'literal' | 'amnesic' | 'aimd';

/** One window of the upstream's; a window's length of time where it has none of its own. */
export interface WindowResult {
  /** Ms since the start of the run. */
  readonly start: number;
  /** What the upstream charged us. */
  readonly admittedTokens: number;
  readonly upstreamLimit: number;
  readonly othersTokens: number;
  /** 0 to 1: admitted of what others left. */
  readonly utilisation: number;
  readonly upstream429: number;
  readonly localRefusals: number;
  /** Longest that a request had been waiting, from its first refusal on. */
  readonly longestWaitMs: number;
  /** Requests that were answered to their end. */
  readonly answered: number;
  /** Requests whose agent had no retry left. */
  readonly givenUp: number;
}

export interface Totals {
  /** Mean over all windows. */
  readonly utilisation: number;
  readonly upstream429PerWindow: number;
  readonly upstream429: number;
  readonly maxConsecutive429: number;
  /** What was charged beyond the limit, others' share counted. */
  readonly overAdmittedTokens: number;
  /** The budget at the end of each window; null while there is none. */
  readonly budget: readonly (number | null)[];
  /** Charged by processes that died, over all windows; 0 for strategies that keep no such account. */
  readonly orphanedTokens: number;
  readonly answered: number;
  readonly givenUp: number;
}

export function totalsOf(
  windows: readonly WindowResult[],
  rest: Pick<Totals, 'maxConsecutive429' | 'budget' | 'orphanedTokens'>,
): Totals {
  const count = Math.max(1, windows.length);
  const upstream429 = sum(windows, (window) => window.upstream429);
  return {
    utilisation: sum(windows, (window) => window.utilisation) / count,
    upstream429PerWindow: upstream429 / count,
    upstream429,
    maxConsecutive429: rest.maxConsecutive429,
    overAdmittedTokens: sum(windows, ({ admittedTokens, othersTokens, upstreamLimit }) =>
      Math.max(0, admittedTokens + othersTokens - upstreamLimit),
    ),
    budget: rest.budget,
    orphanedTokens: rest.orphanedTokens,
    answered: sum(windows, (window) => window.answered),
    givenUp: sum(windows, (window) => window.givenUp),
  };
}

function sum(windows: readonly WindowResult[], amountOf: (window: WindowResult) => number): number {
  return windows.reduce((total, window) => total + amountOf(window), 0);
}

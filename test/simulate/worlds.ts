import { readWorld } from '../../src/simulate/read-world.js';
import type { SimulationResult, StrategyName, WindowResult } from '../../src/simulate/results.js';
import { simulate } from '../../src/simulate/simulation.js';
import type { World } from '../../src/simulate/world.js';

type Described = Readonly<Record<string, unknown>>;

export const MILLION = 1_000_000;
export const HOUR = 3_600_000;

/** The world of the goals: a hidden limit of a million tokens in five hours, asked for one and a half times. */
export function world(overrides: Readonly<Record<string, Described | unknown>> = {}): World {
  const { upstream, governor, demand, ...rest } = overrides as Record<string, Described>;
  const text = JSON.stringify({
    windows: 24,
    ...rest,
    upstream: { limit: MILLION, ...upstream },
    governor: { budget: 1.5 * MILLION, ...governor },
    demand: { load: 1.5, ...demand },
  });
  const read = readWorld(text, 'world.json', () => '');
  if (!read.ok) throw new Error(JSON.stringify(read.problems));
  return read.world;
}

export function run(
  described: World,
  strategy: StrategyName = 'tidegate',
): Promise<SimulationResult> {
  return simulate(described, { strategy });
}

/** Use and 429s a window from the fourth window on. */
export function steady({ windows }: SimulationResult): { used: number; refused: number } {
  const later = windows.slice(3);
  return {
    used: mean(later, ({ utilisation }) => utilisation),
    refused: mean(later, ({ upstream429 }) => upstream429),
  };
}

export function mean(
  windows: readonly WindowResult[],
  amountOf: (window: WindowResult) => number,
): number {
  return windows.reduce((sum, window) => sum + amountOf(window), 0) / Math.max(1, windows.length);
}

import { AimdStrategy } from './aimd-strategy.js';
import { AmnesicStrategy } from './amnesic-strategy.js';
import { LiteralStrategy } from './literal-strategy.js';
import type { StrategyName } from './results.js';
import { seededRandom } from './seeded-random.js';
import type { Strategy } from './strategy.js';
import { TidegateStrategy } from './tidegate-strategy.js';
import type { VirtualTime } from './virtual-time.js';
import type { World } from './world.js';

export const STRATEGIES: readonly StrategyName[] = ['tidegate', 'literal', 'amnesic', 'aimd'];

export function openStrategy(
  name: StrategyName,
  world: World,
  time: VirtualTime,
  onEvent: (event: { readonly kind: string }) => void,
): Strategy {
  switch (name) {
    case 'tidegate':
      return new TidegateStrategy(world, time, seededRandom(world.seed, 'jitter'), onEvent);
    case 'literal':
      return new LiteralStrategy(world, time);
    case 'amnesic':
      return new AmnesicStrategy(world, time);
    case 'aimd':
      return new AimdStrategy(world, time);
  }
}

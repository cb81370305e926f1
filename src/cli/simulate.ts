import { resolve } from 'node:path';
import { didYouMean } from '../config/suggest.js';
import { readWorld } from '../simulate/read-world.js';
import { formatResult } from '../simulate/report.js';
import type { StrategyName } from '../simulate/results.js';
import { simulate } from '../simulate/simulation.js';
import { STRATEGIES } from '../simulate/strategies.js';
import { readArguments, UsageError } from './arguments.js';
import type { Run } from './commands.js';
import { formatProblems } from './configuration.js';
import { EXIT } from './exit-codes.js';
import { progressBar } from './progress-bar.js';
import type { Terminal } from './terminal.js';

export const run: Run = async (args, terminal) => {
  const { options } = readArguments(args, {
    world: { type: 'string' },
    strategy: { type: 'string', default: 'tidegate' },
    seed: { type: 'string' },
    json: { type: 'boolean' },
  });
  if (options.world === undefined) throw new UsageError('Say which world: --world FILE');
  const strategy = strategyOf(options.strategy);
  const seed = seedOf(options.seed);
  const path = resolve(terminal.cwd, options.world);
  const readNear = (file: string) => terminal.machine.readFile(resolve(path, '..', file));
  const read = readWorld(readText(path, options.world, terminal), options.world, readNear);
  if (!read.ok) {
    terminal.err(formatProblems(read.problems, 'world', 'tidegate help simulate'));
    return EXIT.config;
  }
  const world = seed === null ? read.world : { ...read.world, seed };
  const bar = terminal.watched ? progressBar(terminal.err, world.windows) : null;
  const result = await simulate(world, { strategy, ...(bar && { onProgress: bar.show }) });
  bar?.clear();
  terminal.out(options.json === true ? `${JSON.stringify(result)}\n` : formatResult(result));
  return EXIT.ok;
};

function strategyOf(name: string): StrategyName {
  const strategy = STRATEGIES.find((candidate) => candidate === name);
  if (strategy !== undefined) return strategy;
  throw new UsageError(
    `${JSON.stringify(name)} is no strategy.${didYouMean(name, STRATEGIES)} ` +
      `There is: ${STRATEGIES.join(', ')}`,
  );
}

function seedOf(text: string | undefined): number | null {
  if (text === undefined) return null;
  if (/^\d{1,10}$/.test(text) && Number(text) < 2 ** 32) return Number(text);
  throw new UsageError(
    `${JSON.stringify(text)} is no seed: a whole number from 0 to ${2 ** 32 - 1}`,
  );
}

function readText(path: string, name: string, terminal: Terminal): string {
  try {
    return terminal.machine.readFile(path);
  } catch (error) {
    const reason = error instanceof Error && 'code' in error ? ` (${String(error.code)})` : '';
    throw new UsageError(`${JSON.stringify(name)} can't be read${reason}.`);
  }
}

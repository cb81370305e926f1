import { describeConfig, publicConfig } from '../config/describe.js';
import type { LoadResult } from '../config/load.js';
import { readArguments } from './arguments.js';
import type { Run } from './commands.js';
import { formatProblems, formatWarnings, loadFrom } from './configuration.js';
import { EXIT } from './exit-codes.js';

export const run: Run = async (args, terminal) => {
  const { options } = readArguments(args, { json: { type: 'boolean' } });
  const result = loadFrom(terminal);
  if (options.json === true) {
    terminal.out(`${JSON.stringify(asData(result), null, 2)}\n`);
  } else {
    terminal.err(formatWarnings(result.warnings));
    if (!result.ok) terminal.err(formatProblems(result.problems));
    else terminal.out(`${describeConfig(result.config)}\n${formatSet(result.set)}`);
  }
  return result.ok ? EXIT.ok : EXIT.config;
};

function asData(result: LoadResult): unknown {
  return result.ok ? { ...result, config: publicConfig(result.config) } : result;
}

function formatSet(set: readonly string[]): string {
  if (set.length === 0) return 'Nothing is set; all of this is default.\n';
  return `Set; all else is default:\n${set.map((name) => `  ${name}\n`).join('')}`;
}

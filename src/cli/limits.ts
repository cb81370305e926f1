import { UsageError } from './arguments.js';
import type { Run } from './commands.js';

export const run: Run = async ([name, ...args], terminal) => {
  if (name === undefined) throw new UsageError('Say what to do: import.');
  if (name !== 'import') throw new UsageError(`"limits" can't do ${JSON.stringify(name)}.`);
  const subcommand = await import('./limits-import.js');
  return subcommand.run(args, terminal);
};

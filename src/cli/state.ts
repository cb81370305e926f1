import { didYouMean } from '../config/suggest.js';
import { UsageError } from './arguments.js';
import type { Run } from './commands.js';

const SUBCOMMANDS: Readonly<Record<string, () => Promise<{ readonly run: Run }>>> = {
  show: () => import('./state-show.js'),
  check: () => import('./state-check.js'),
  copy: () => import('./state-copy.js'),
};

export const run: Run = async ([name, ...args], terminal) => {
  const names = Object.keys(SUBCOMMANDS);
  if (name === undefined) throw new UsageError(`Say what to do: ${names.join(', ')}.`);
  const load = Object.hasOwn(SUBCOMMANDS, name) ? SUBCOMMANDS[name] : undefined;
  if (load === undefined) {
    throw new UsageError(`"state" can't do ${JSON.stringify(name)}.${didYouMean(name, names)}`);
  }
  const subcommand = await load();
  return subcommand.run(args, terminal);
};

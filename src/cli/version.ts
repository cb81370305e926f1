import { readVersion } from '../platform/version.js';
import { readArguments } from './arguments.js';
import type { Run } from './commands.js';
import { EXIT } from './exit-codes.js';

export const run: Run = async (args, terminal) => {
  readArguments(args, {});
  terminal.out(`${readVersion()}\n`);
  return EXIT.ok;
};

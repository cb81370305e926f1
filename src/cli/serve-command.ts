import { readArguments } from './arguments.js';
import type { Run } from './commands.js';
import { formatProblems, formatWarnings, loadFrom } from './configuration.js';
import { EXIT } from './exit-codes.js';

export const run: Run = async (args, terminal) => {
  readArguments(args, {});
  const result = loadFrom(terminal);
  terminal.err(formatWarnings(result.warnings));
  if (!result.ok) {
    terminal.err(formatProblems(result.problems));
    return EXIT.config;
  }
  // Nest and the rest of the server are loaded only for a configuration that will be served.
  const { serve } = await import('./serve.js');
  await serve(result.config, terminal);
  return EXIT.ok;
};

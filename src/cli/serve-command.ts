import { readArguments } from './arguments.js';
import type { Run } from './commands.js';
import { mustLoadFrom } from './configuration.js';
import { EXIT } from './exit-codes.js';

export const run: Run = async (args, terminal) => {
  readArguments(args, {});
  const config = mustLoadFrom(terminal);
  // Nest and the rest of the server are loaded only for a configuration that will be served.
  const { serve } = await import('./serve.js');
  await serve(config, terminal);
  return EXIT.ok;
};

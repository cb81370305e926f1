import { storeName } from '../config/state-store.js';
import { readArguments } from './arguments.js';
import type { Run } from './commands.js';
import { mustLoadFrom } from './configuration.js';
import { EXIT } from './exit-codes.js';

export const run: Run = async (args, terminal) => {
  const { options } = readArguments(args, { 'dry-run': { type: 'boolean' } });
  const { state } = mustLoadFrom(terminal);
  if (state.kind !== 'postgres') {
    terminal.out(`${storeName(state)} has no tables to migrate.\n`);
    return EXIT.ok;
  }
  const { migrateDatabase } = await import('../state/postgres/migrate.js');
  const dryRun = options['dry-run'] === true;
  const names = await migrateDatabase(state.url, { dryRun });
  const lines = names.map((name) => `${dryRun ? 'to do' : 'done'}: ${name}\n`);
  terminal.out(lines.length === 0 ? 'The tables are up to date.\n' : lines.join(''));
  return EXIT.ok;
};

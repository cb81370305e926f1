import { storeName } from '../config/state-store.js';
import { auditScope } from '../state/audit.js';
import { readArguments } from './arguments.js';
import type { Run } from './commands.js';
import { EXIT } from './exit-codes.js';
import { inspectExisting, LOSSES, readStore } from './store-argument.js';

export const run: Run = async (args, terminal) => {
  const { words } = readArguments(args, {}, 1);
  const store = readStore(words[0], terminal);
  const { stored, loss, damage = [] } = await inspectExisting(store);
  const findings = [
    ...(loss === null ? [] : [LOSSES[loss]]),
    ...damage,
    ...[...stored.scopes].flatMap(([name, state]) =>
      auditScope(state).map((finding) => `scope ${name}: ${finding}`),
    ),
  ];
  const scopes = stored.scopes.size === 1 ? '1 scope' : `${stored.scopes.size} scopes`;
  const summary = `${storeName(store)}: ${scopes}, revision ${stored.revision}`;
  if (findings.length === 0) {
    // Postgres has checksums of its own.
    const checked = store.kind === 'postgres' ? 'bounds and sums' : 'checksums, bounds and sums';
    terminal.out(`${summary}: whole; ${checked} are right\n`);
    return EXIT.ok;
  }
  terminal.out(`${summary}: not as it should be\n${findings.map((one) => `  ${one}\n`).join('')}`);
  return EXIT.config;
};

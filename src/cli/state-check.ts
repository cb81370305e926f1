import { storeName } from '../config/state-store.js';
import { auditScope } from '../state/audit.js';
import { readArguments } from './arguments.js';
import type { Run } from './commands.js';
import { EXIT } from './exit-codes.js';
import { inspectExisting, LOSSES, readStore } from './store-argument.js';

export const run: Run = async (args, terminal) => {
  const { words } = readArguments(args, {}, 1);
  const store = readStore(words[0], terminal);
  const { stored, loss } = await inspectExisting(store);
  const findings = [
    ...(loss === null ? [] : [LOSSES[loss]]),
    ...[...stored.scopes].flatMap(([name, state]) =>
      auditScope(state).map((finding) => `scope ${name}: ${finding}`),
    ),
  ];
  const scopes = stored.scopes.size === 1 ? '1 scope' : `${stored.scopes.size} scopes`;
  const summary = `${storeName(store)}: ${scopes}, revision ${stored.revision}`;
  if (findings.length === 0) {
    terminal.out(`${summary}: whole; checksums, bounds and sums are right\n`);
    return EXIT.ok;
  }
  terminal.out(`${summary}: not as it should be\n${findings.map((one) => `  ${one}\n`).join('')}`);
  return EXIT.config;
};

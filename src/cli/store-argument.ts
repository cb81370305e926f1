import type { StoreConfig } from '../config/config.js';
import { wrongPlace } from '../config/machine.js';
import { printable } from '../config/problem.js';
import { resolveStore, STATE_STORE, storeName } from '../config/state-store.js';
import { inspectStore } from '../inspect-store.js';
import { TidegateError } from '../platform/tidegate-error.js';
import type { FoundState } from '../state/held-state.js';
import type { LossReason } from '../state/scope-state.js';
import { UsageError } from './arguments.js';
import { mustLoadFrom } from './configuration.js';
import type { Terminal } from './terminal.js';

/** A store as the command line names it; without a name, the configured one. */
export function readStore(text: string | undefined, terminal: Terminal): StoreConfig {
  if (text === undefined) return mustLoadFrom(terminal).state;
  const result = STATE_STORE.parse(text);
  if (!result.ok) throw wrongStore(text, result.message);
  const store = resolveStore(result.value, terminal.cwd);
  const fault = wrongPlace(store, terminal.machine);
  if (fault !== null) throw wrongStore(text, fault);
  return store;
}

function wrongStore(text: string, fault: string): UsageError {
  const stop = fault.endsWith('?') ? '' : '.';
  return new UsageError(
    `${JSON.stringify(printable(text))} ${fault}${stop} Allowed: ${STATE_STORE.allowed}`,
  );
}

/** @throws TidegateError STATE_CORRUPT if there is none. */
export async function inspectExisting(store: StoreConfig): Promise<FoundState> {
  const found = await inspectStore(store);
  if (found !== null) return found;
  throw new TidegateError('STATE_CORRUPT', `there is no state at ${storeName(store)}`, {
    hint:
      store.kind === 'postgres'
        ? 'an instance makes it at its start, as "tidegate migrate" makes its tables; if one has, look at database and search_path in TIDEGATE_STATE'
        : 'look at TIDEGATE_STATE; a relative path begins at the working directory',
  });
}

/** What is wrong with a store whose reading ended with this loss. */
export const LOSSES: Readonly<Record<LossReason, string>> = {
  corrupt: 'it is damaged, and nothing of it can be restored',
  missing: 'it is missing, and other files show that it was there',
  restored: 'it is damaged; this is what can be restored of it',
  altered: 'a checksum does not fit: it was edited by hand, or a bit is wrong',
  empty: 'it is empty',
  'rolled-back': 'it is older than what was there: a part of its files is missing or replaced',
  clock: 'the clock of this machine is behind it',
};

import type { StoreConfig } from './config.js';

/** What the configuration needs to know of the machine that it is read on. */
export interface Machine {
  readonly hostname: string;
  /** The text of a file; throws like `readFileSync`. */
  readFile(path: string): string;
  /** What stands there; `file` also where nothing does yet. */
  kindOf(path: string): 'file' | 'directory' | 'device';
}

/**
 * What is wrong with the place of a store, or null. What can't be read as a state is set aside, and
 * a directory would be so with all that is in it.
 */
export function wrongPlace(store: StoreConfig, machine: Machine): string | null {
  if (store.kind === 'postgres') return null;
  const { path } = store;
  const found = machine.kindOf(path);
  if (found === 'directory') {
    const name = store.kind === 'file' ? 'state.json' : 'state.db';
    return `names a directory; did you mean ${JSON.stringify(`${store.kind}:${path}/${name}`)}?`;
  }
  return found === 'device' ? 'names a device, which keeps nothing' : null;
}

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { TidegateError } from '../../src/platform/tidegate-error.js';
import type { StateLoss } from '../../src/state/scope-state.js';
import type { StateRepository } from '../../src/state/state-repository.js';
import type { StoreOnDisk } from './store-on-disk.js';

export async function lossOf(repository: StateRepository, scope = 'a'): Promise<StateLoss | null> {
  return (await repository.read(scope)).state.hot.lost;
}

/** Names of what was set aside as not to be believed. */
export function setAsideNames(store: StoreOnDisk): string[] {
  return store.names().filter((name) => name.includes('.corrupt-'));
}

/** Everything that a start which is refused must leave as it was. */
export function withoutLock(store: StoreOnDisk): Record<string, string> {
  const names = store.names().filter((name) => !/\.(lock|owner)$/.test(name));
  return Object.fromEntries(
    names.map((name) => [name, readFileSync(join(store.directory, name), 'latin1')]),
  );
}

export async function errorOf(call: Promise<unknown>): Promise<TidegateError> {
  return call.then(
    () => expect.fail('expected a rejection'),
    (error: unknown) => error as TidegateError,
  );
}

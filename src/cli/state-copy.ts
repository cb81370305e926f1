import { isDeepStrictEqual } from 'node:util';
import type { StoreConfig } from '../config/config.js';
import { storeName } from '../config/state-store.js';
import { inspectStore, isSameStore } from '../inspect-store.js';
import { openRepository } from '../open-repository.js';
import { SteadyClock } from '../platform/clock.js';
import { TidegateError } from '../platform/tidegate-error.js';
import type { ScopeState } from '../state/scope-state.js';
import type { LossPolicy, StateRepository } from '../state/state-repository.js';
import { readArguments, UsageError } from './arguments.js';
import type { Run } from './commands.js';
import { type CopySide, type Objections, objectionsTo } from './copy-objections.js';
import { EXIT } from './exit-codes.js';
import { inspectExisting, readStore } from './store-argument.js';

/** Named so to whoever is refused meanwhile. */
const INSTANCE = 'tidegate state copy';
/** No scope has this name: what is read under it is what a new scope begins with. */
const NO_SCOPE = 'tidegate state copy: no scope is called so';

type Scopes = ReadonlyMap<string, ScopeState>;

/**
 * The states go through the same port as every other write, so that any two stores will do. One clock
 * for both: it goes on from the newest instant in FROM, and what TO records is not before that.
 */
export const run: Run = async (args, terminal) => {
  const { options, words } = readArguments(args, { force: { type: 'boolean' } }, 2);
  const [fromText, toText] = words;
  if (toText === undefined) throw new UsageError('Say from which store, and into which one.');
  const source = readStore(fromText, terminal);
  const target = readStore(toText, terminal);
  const [from, to] = [storeName(source), storeName(target)];
  if (await isSameStore(source, target)) throw new UsageError('FROM and TO are the same store.');
  // Opening it would make it.
  await inspectExisting(source);

  const clock = new SteadyClock();
  const opened: StateRepository[] = [];
  const open = async (store: StoreConfig, onEmpty: LossPolicy['onEmpty']) => {
    const loss: LossPolicy = { onCorrupt: 'refuse', onEmpty };
    const repository = await openRepository(store, { instance: INSTANCE, loss, clock });
    opened.push(repository);
    const { healthy, problem } = repository.health();
    if (!healthy) throw new TidegateError('STATE_UNAVAILABLE', problem ?? 'the store is not well');
    return repository;
  };
  try {
    const reader = await open(source, 'trust');
    // What FROM has lost without knowing its name must not be new in TO.
    const lost = await hasLostScopes(reader);
    const found = await look(from, reader);
    const { scopes } = found;
    if (scopes.size === 0) throw new UsageError(`${from} has no scopes: there is nothing to copy.`);
    // A copy that is refused makes no store: an empty one would not be a first start any more.
    if ((await inspectStore(target)) === null && options.force !== true) {
      assertNone(objectionsTo(found, { ...found, name: to, scopes: new Map() }));
    }
    const writer = await open(target, lost ? 'cautious' : 'trust');
    // One that was there before has not heard of it, and the port can't tell it.
    if (lost && !(await hasLostScopes(writer))) throw knowsNoLoss(from, to);
    const before = await look(to, writer);
    const objections = objectionsTo(found, before);
    if (options.force !== true) assertNone(objections);
    for (const why of objections?.reasons ?? [])
      terminal.err(`tidegate: forced, although ${why}\n`);
    await write(writer, scopes);
    const kept = [...before.scopes.keys()].filter((name) => !scopes.has(name));
    terminal.out(
      `${from} -> ${to}: ${[...scopes.keys()].join(', ')}\n` +
        (kept.length === 0 ? '' : `Kept, since only the target has them: ${kept.join(', ')}\n`) +
        `From now on start with TIDEGATE_STATE=${to}; the source stays as it was, and will not follow.\n`,
    );
    return EXIT.ok;
  } finally {
    for (const repository of opened) await repository.close();
  }
};

function assertNone(objections: Objections | null): void {
  if (objections !== null) throw objections.fault;
}

/** Nobody knows which: one that turns up new is not new. */
async function hasLostScopes(repository: StateRepository): Promise<boolean> {
  return (await repository.read(NO_SCOPE)).state.hot.lost !== null;
}

/** Not for --force to pass over: there would be no sign of it afterwards. */
function knowsNoLoss(from: string, to: string): UsageError {
  return new UsageError(
    `${from} has lost scopes, nobody knows which, and ${to} would take them for new: it was there before. ` +
      'Copy into a store that is not there yet: name another, or move its files away first.',
  );
}

async function look(name: string, repository: StateRepository): Promise<CopySide> {
  const scopes = new Map<string, ScopeState>();
  for (const scope of await repository.list()) {
    scopes.set(scope, (await repository.read(scope)).state);
  }
  const { now } = await repository.read(NO_SCOPE);
  return { name, repository, scopes, now };
}

/**
 * Issued at once, they share one write in a file and in SQLite: a crash leaves all of them or none. In
 * Postgres each scope is a commit of its own, and some may be written where others can't be.
 */
async function write(repository: StateRepository, scopes: Scopes): Promise<void> {
  const results = await Promise.allSettled(
    [...scopes].map(([name, state]) => repository.update(name, () => ({ state, outcome: null }))),
  );
  const failure = results.find((result) => result.status === 'rejected');
  if (failure !== undefined) {
    const written = [...scopes.keys()].filter((_, index) => results[index]?.status === 'fulfilled');
    throw written.length === 0 ? failure.reason : inPart(failure.reason, written, scopes.size);
  }
  for (const [name, state] of scopes) {
    const { state: written } = await repository.read(name);
    if (!isDeepStrictEqual(written, state)) {
      throw new TidegateError('STATE_UNKNOWN', `scope ${name} reads back otherwise than written`);
    }
  }
}

function inPart(cause: unknown, written: readonly string[], all: number): unknown {
  if (!(cause instanceof TidegateError)) return cause;
  const copied = `${written.length} of ${all} scopes were copied (${written.join(', ')})`;
  const hint = `${cause.hint ?? 'look at the store'}; then copy again, and start nothing on it before`;
  return new TidegateError(cause.code, `${copied}, then: ${cause.message}`, { cause, hint });
}

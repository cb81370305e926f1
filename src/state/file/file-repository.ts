import { errorCode, type FileSystem, SYSTEM_FILES } from '../../platform/durable-file.js';
import { TidegateError } from '../../platform/tidegate-error.js';
import { type Cancel, SYSTEM_TIMERS, type Timers } from '../../platform/timers.js';
import type { Instant } from '../scope-state.js';
import type { Decide, Snapshot, StateRepository, StoreHealth } from '../state-repository.js';
import { type Fold, UpdateQueue } from '../update-queue.js';
import { type FileStoreOptions, StateFiles } from './state-files.js';

/** How often a store that can't be written is tried again. */
const RETRY_EVERY_MS = 1_000;

/** A write that takes longer is a problem, although nothing has failed. */
const SLOW_MS = 5_000;

/** What ends a start. When a store heals later they are problems like any other. */
const FINAL = new Set(['STATE_LOCKED', 'STATE_NEWER', 'STATE_CORRUPT']);

/**
 * Opens the store at `options.path`. If it can't be written it is opened all the same, unhealthy,
 * and heals by itself.
 *
 * @throws TidegateError STATE_LOCKED naming the instance that uses it, STATE_NEWER, and
 *   STATE_CORRUPT under the policy `refuse`; the files are then as they were.
 */
export async function openFileStateRepository(
  options: FileStoreOptions & { readonly timers?: Timers; readonly files?: FileSystem },
): Promise<StateRepository> {
  const { timers = SYSTEM_TIMERS, files = SYSTEM_FILES } = options;
  const store = new StateFiles(options, files);
  const repository = new FileStateRepository(options, store, timers);
  await repository.open();
  return repository;
}

/**
 * healthy ── a write fails ──► unhealthy ── once a second, a start succeeds ──► healthy
 *
 * Unhealthy, updates that change something are refused without touching the disk.
 */
class FileStateRepository implements StateRepository {
  readonly kind = 'file';
  readonly shared = false;
  readonly #options: FileStoreOptions;
  readonly #store: StateFiles;
  readonly #timers: Timers;
  readonly #queue = new UpdateQueue((fold) => this.#commit(fold));
  #problem: string | null = null;
  #writingSince: Instant | null = null;
  #cancelUpkeep: Cancel | null = null;
  #closing: Promise<void> | null = null;

  constructor(options: FileStoreOptions, store: StateFiles, timers: Timers) {
    this.#options = options;
    this.#store = store;
    this.#timers = timers;
  }

  async open(): Promise<void> {
    try {
      await this.#store.start();
    } catch (error) {
      try {
        throwIfFinal(error);
        await this.#store.peek().catch(throwIfFinal);
      } catch (final) {
        await this.#store.release();
        throw final;
      }
      this.#fail(error);
    }
  }

  update<Outcome>(scope: string, decide: Decide<Outcome>): Promise<Outcome> {
    return this.#queue.update(scope, decide);
  }

  async read(scope: string): Promise<Snapshot> {
    this.#queue.assertOpen();
    return { state: this.#store.stateOf(scope), now: this.#options.clock.now() };
  }

  async list(): Promise<readonly string[]> {
    this.#queue.assertOpen();
    return this.#store.names;
  }

  health(): StoreHealth {
    const { id, revision } = this.#store;
    const problem = this.#problem ?? this.#slowness();
    return { healthy: problem === null, problem, id, revision };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#queue.close();
    this.#cancelUpkeep?.();
    // What can't be written is in the journal, and the next start reads that.
    await this.#store.tidy().catch(() => undefined);
    await this.#store.release();
  }

  async #commit(fold: Fold): Promise<void> {
    const now = this.#options.clock.now();
    const changed = fold.decide((scope) => this.#store.stateOf(scope), now);
    if (changed.size === 0) return;
    if (this.#problem !== null) throw new TidegateError('STATE_UNAVAILABLE', this.#problem);
    this.#writingSince = now;
    try {
      await this.#store.commit(changed);
    } catch (error) {
      throw this.#fail(error);
    } finally {
      this.#writingSince = null;
    }
    if (this.#store.behind) this.#upkeepIn(this.#store.rewriteDueIn);
  }

  #slowness(): string | null {
    if (this.#writingSince === null) return null;
    const ms = this.#options.clock.now() - this.#writingSince;
    if (ms < SLOW_MS) return null;
    return `a write to ${this.#options.path} has not ended for ${ms} ms: look at its disk`;
  }

  #upkeepIn(delayMs: number): void {
    if (this.#closing !== null) return;
    this.#cancelUpkeep ??= this.#timers.after(Math.max(0, delayMs), () => {
      this.#cancelUpkeep = null;
      this.#queue.between(() => this.#upkeep());
    });
  }

  async #upkeep(): Promise<void> {
    try {
      if (this.#problem !== null) {
        await this.#store.start();
        this.#problem = null;
      } else if (this.#store.behind) {
        const dueInMs = this.#store.rewriteDueIn;
        if (dueInMs > 0) this.#upkeepIn(dueInMs);
        else await this.#store.rewrite();
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): TidegateError {
    const fault = error instanceof TidegateError ? error : writeFault(this.#options.path, error);
    this.#problem = fault.hint === undefined ? fault.message : `${fault.message}: ${fault.hint}`;
    this.#upkeepIn(RETRY_EVERY_MS);
    return fault;
  }
}

function throwIfFinal(error: unknown): void {
  if (error instanceof TidegateError && FINAL.has(error.code)) throw error;
}

const REMEDIES: Readonly<Record<string, string>> = {
  ENOSPC: 'free space on its disk',
  EDQUOT: 'raise the quota of its disk',
  EROFS: 'make its disk writable',
  EACCES: 'give the user Tidegate runs as the right to write its directory',
  EPERM: 'give the user Tidegate runs as the right to write its directory',
  ENOTDIR: 'a file stands where its directory should be',
  EMFILE: 'raise the limit of open files',
};

function writeFault(path: string, error: unknown): TidegateError {
  const reason = error instanceof Error ? error.message : String(error);
  return new TidegateError('STATE_UNAVAILABLE', `${path} can't be written (${reason})`, {
    hint: REMEDIES[errorCode(error)] ?? 'look at its disk',
    cause: error,
  });
}

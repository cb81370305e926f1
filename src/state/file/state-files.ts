import { dirname } from 'node:path';
import { rfc3339, type SteadyClock } from '../../platform/clock.js';
import {
  type FileSystem,
  makeDirectory,
  replaceFile,
  syncDirectory,
} from '../../platform/durable-file.js';
import { invariant } from '../../platform/invariant.js';
import { TidegateError } from '../../platform/tidegate-error.js';
import { HeldState } from '../held-state.js';
import { type Instant, SCHEMA, type ScopeState } from '../scope-state.js';
import { setAside } from '../set-aside.js';
import type { SoleStore } from '../sole-repository.js';
import type { LossPolicy } from '../state-repository.js';
import { StoreLock } from '../store-lock.js';
import { encodeDocument } from './document.js';
import { Journal, type RecordedScope } from './journal.js';
import { type Found, recover, type StorePaths, storePaths } from './recovery.js';

export interface FileStoreOptions {
  /** Of state.json, absolute; its other files stand beside it. The directory is made if need be. */
  readonly path: string;
  /** Name under which a second instance is refused. */
  readonly instance: string;
  readonly loss: LossPolicy;
  /** Is made to go on from the newest instant on record. */
  readonly clock: SteadyClock;
}

/** How far state.json may lie behind the journal. */
const REWRITE_EVERY_MS = 1_000;

/**
 * The files of one store, and what is durable in them.
 *
 * `start` takes the lock, reads, restores, and writes the result; only then may `commit` be called.
 * After a failure of any kind `start` must succeed again before the next commit. It writes
 * state.json anew, with a revision above whatever the failed write may have left on the disk, and
 * begins a new journal: a file whose flush has failed is never trusted again.
 *
 * One call at a time; the caller sees to that.
 */
export class StateFiles implements SoleStore {
  readonly kind = 'file';
  readonly #options: FileStoreOptions;
  readonly #files: FileSystem;
  readonly #paths: StorePaths;
  readonly #lock: StoreLock;
  #journal: Journal | null = null;
  /** The files were read under the lock and written: from then on memory is what counts. */
  #started = false;

  readonly #held: HeldState;
  #others: Readonly<Record<string, unknown>> = {};
  #savedAt: Instant = 0;

  constructor(options: FileStoreOptions, files: FileSystem) {
    this.#options = options;
    this.#files = files;
    this.#paths = storePaths(options.path);
    this.#held = new HeldState(options.clock);
    const { path, instance, clock } = options;
    this.#lock = new StoreLock(files, path, instance, clock);
  }

  get path(): string {
    return this.#paths.state;
  }

  /** Empty until the store has started. */
  get id(): string {
    return this.#started ? this.#held.id : '';
  }

  get revision(): number {
    return this.#held.revision;
  }

  get names(): string[] {
    return this.#held.names;
  }

  stateOf(scope: string): ScopeState {
    return this.#held.stateOf(scope);
  }

  /** When state.json is to be brought up to the journal. */
  get upkeepDueIn(): number | null {
    return this.#behind ? this.#rewriteDueIn : null;
  }

  get #behind(): boolean {
    return this.#journal !== null && !this.#journal.empty;
  }

  /** In ms; 0 or less: now. */
  get #rewriteDueIn(): number {
    return this.#savedAt + REWRITE_EVERY_MS - this.#options.clock.now();
  }

  /** @throws TidegateError STATE_LOCKED, STATE_NEWER, STATE_CORRUPT, or whatever the disk says. */
  async start(): Promise<void> {
    await makeDirectory(this.#files, dirname(this.#paths.state));
    // Whoever held it meanwhile wrote what is not in memory, and is now overwritten.
    if (await this.#lock.take()) this.#held.markAll('rolled-back');
    const found = this.#started ? null : await this.#recover();
    if (found !== null) {
      this.#adopt(found);
      for (const path of found.setAside) await setAside(this.#files, path, this.#nowText());
    }
    await this.#rewrite(this.#held.scopes);
    this.#started = true;
    if (found?.setJournalAside) {
      await setAside(this.#files, this.#paths.journal, this.#nowText());
    }
    await this.#renewJournal();
  }

  /** After a failed start: what can be read without the lock is better than nothing to show. */
  async peek(): Promise<void> {
    if (!this.#lock.taken) this.#adopt(await this.#recover());
  }

  /** Resolves when the change is durable. */
  async commit(changed: ReadonlyMap<string, ScopeState>): Promise<void> {
    invariant(this.#started && this.#journal !== null, 'a commit needs a started store');
    if (this.#journal.full || this.#rewriteDueIn <= 0) {
      await this.#rewrite(this.#held.with(changed));
    } else {
      await this.#append(this.#journal, changed);
    }
    this.#held.apply(changed);
  }

  /** Brings state.json up to the journal. */
  async upkeep(): Promise<void> {
    await this.#rewrite(this.#held.scopes);
  }

  /** Leaves all there is in state.json. The journal stays: with the .bak it restores a lost one. */
  async tidy(): Promise<void> {
    if (this.#behind) await this.upkeep();
  }

  /** Ends the use of the store. */
  async release(): Promise<void> {
    await this.#journal?.close().catch(() => undefined);
    await this.#lock.release();
  }

  async #append(journal: Journal, changed: ReadonlyMap<string, ScopeState>): Promise<void> {
    const scopes = new Map<string, RecordedScope>();
    for (const [scope, { hot, cold }] of changed) {
      scopes.set(scope, cold === this.#held.scopes.get(scope)?.cold ? { hot } : { hot, cold });
    }
    const revision = this.#held.attempt();
    const at = this.#options.clock.now();
    await journal.append({ revision, major: SCHEMA.major, id: this.#held.id, at, scopes });
    this.#held.wrote(revision);
  }

  async #rewrite(scopes: ReadonlyMap<string, ScopeState>): Promise<void> {
    if (!(await this.#lock.held())) throw lockLost(this.#paths.state);
    const revision = this.#held.attempt();
    const savedAt = this.#options.clock.now();
    const { id, lost } = this.#held;
    const document = { revision, savedAt, scopes, id, lost };
    const text = encodeDocument({ ...document, others: this.#others });
    await replaceFile(this.#files, this.#paths.state, text, this.#paths.previous);
    this.#held.wrote(revision);
    this.#savedAt = savedAt;
    await this.#journal?.startOver();
  }

  async #renewJournal(): Promise<void> {
    // It may be one whose flush has failed; what closing it says changes nothing.
    await this.#journal?.close().catch(() => undefined);
    this.#journal = null;
    this.#journal = await Journal.create(this.#files, this.#paths.journal);
    await syncDirectory(this.#files, dirname(this.#paths.journal));
  }

  #recover(): Promise<Found> {
    return recover(this.#files, this.#paths, this.#options.loss, this.#lock.wasThere);
  }

  #adopt(found: Found): void {
    this.#others = found.stored.others;
    this.#held.adopt(found);
  }

  #nowText(): string {
    return rfc3339(this.#options.clock.now());
  }
}

function lockLost(path: string): TidegateError {
  return new TidegateError('STATE_UNAVAILABLE', `the lock of ${path} was removed or replaced`, {
    hint: 'leave the files beside it alone; the store goes on once it has a new lock',
  });
}

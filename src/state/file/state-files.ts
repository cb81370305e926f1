import { basename, dirname } from 'node:path';
import { rfc3339, type SteadyClock } from '../../platform/clock.js';
import {
  type FileSystem,
  makeDirectory,
  replaceFile,
  syncDirectory,
} from '../../platform/durable-file.js';
import { ExclusiveLock, lockPaths } from '../../platform/exclusive-lock.js';
import { invariant } from '../../platform/invariant.js';
import { TidegateError } from '../../platform/tidegate-error.js';
import {
  emptyScopeState,
  type Instant,
  type LossReason,
  SCHEMA,
  type ScopeState,
  type StateLoss,
} from '../scope-state.js';
import type { LossPolicy } from '../state-repository.js';
import { encodeDocument } from './document.js';
import { Journal, type RecordedScope } from './journal.js';
import { type Found, recover, setAside, type StorePaths, storePaths } from './recovery.js';

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
export class StateFiles {
  readonly #options: FileStoreOptions;
  readonly #files: FileSystem;
  readonly #paths: StorePaths;
  #lock: ExclusiveLock | null = null;
  #lockWasThere = false;
  #journal: Journal | null = null;
  /** The files were read under the lock and written: from then on memory is what counts. */
  #started = false;

  #id = '';
  #lost: StateLoss | null = null;
  #others: Readonly<Record<string, unknown>> = {};
  #scopes = new Map<string, ScopeState>();
  #blank = emptyScopeState();
  /** Of the last durable write, and the highest one ever tried. */
  #revision = 0;
  #attempted = 0;
  #savedAt: Instant = 0;

  constructor(options: FileStoreOptions, files: FileSystem) {
    this.#options = options;
    this.#files = files;
    this.#paths = storePaths(options.path);
  }

  /** Empty until the store has started. */
  get id(): string {
    return this.#started ? this.#id : '';
  }

  get revision(): number {
    return this.#revision;
  }

  get names(): string[] {
    return [...this.#scopes.keys()].sort();
  }

  stateOf(scope: string): ScopeState {
    return this.#scopes.get(scope) ?? this.#blank;
  }

  /** state.json does not have all that the journal has. */
  get behind(): boolean {
    return this.#journal !== null && !this.#journal.empty;
  }

  /** In ms; 0 or less: now. */
  get rewriteDueIn(): number {
    return this.#savedAt + REWRITE_EVERY_MS - this.#options.clock.now();
  }

  /** @throws TidegateError STATE_LOCKED, STATE_NEWER, STATE_CORRUPT, or whatever the disk says. */
  async start(): Promise<void> {
    await makeDirectory(this.#files, dirname(this.#paths.state));
    await this.#takeLock();
    const found = this.#started ? null : await this.#recover();
    if (found !== null) {
      this.#adopt(found);
      for (const path of found.setAside) await setAside(this.#files, path, this.#nowText());
    }
    await this.#rewrite(this.#scopes);
    this.#started = true;
    if (found?.setJournalAside) {
      await setAside(this.#files, this.#paths.journal, this.#nowText());
    }
    await this.#renewJournal();
  }

  /** After a failed start: what can be read without the lock is better than nothing to show. */
  async peek(): Promise<void> {
    if (this.#lock === null) this.#adopt(await this.#recover());
  }

  /** Resolves when the change is durable. */
  async commit(changed: ReadonlyMap<string, ScopeState>): Promise<void> {
    invariant(this.#started && this.#journal !== null, 'a commit needs a started store');
    if (this.#journal.full || this.rewriteDueIn <= 0) {
      await this.#rewrite(new Map([...this.#scopes, ...changed]));
    } else {
      await this.#append(this.#journal, changed);
    }
    for (const [scope, state] of changed) this.#scopes.set(scope, state);
  }

  /** Brings state.json up to the journal. */
  async rewrite(): Promise<void> {
    await this.#rewrite(this.#scopes);
  }

  /** Leaves all there is in state.json. The journal stays: with the .bak it restores a lost one. */
  async tidy(): Promise<void> {
    if (this.behind) await this.rewrite();
  }

  /** Ends the use of the store. */
  async release(): Promise<void> {
    await this.#journal?.close().catch(() => undefined);
    await this.#lock?.release();
  }

  async #append(journal: Journal, changed: ReadonlyMap<string, ScopeState>): Promise<void> {
    const scopes = new Map<string, RecordedScope>();
    for (const [scope, { hot, cold }] of changed) {
      scopes.set(scope, cold === this.#scopes.get(scope)?.cold ? { hot } : { hot, cold });
    }
    this.#attempted += 1;
    const revision = this.#attempted;
    const at = this.#options.clock.now();
    await journal.append({ revision, major: SCHEMA.major, id: this.#id, at, scopes });
    this.#revision = revision;
  }

  async #rewrite(scopes: ReadonlyMap<string, ScopeState>): Promise<void> {
    if (this.#lock === null || !(await this.#lock.held())) throw lockLost(this.#paths.state);
    this.#attempted += 1;
    const revision = this.#attempted;
    const savedAt = this.#options.clock.now();
    const document = { revision, savedAt, scopes, id: this.#id, lost: this.#lost };
    const text = encodeDocument({ ...document, others: this.#others });
    await replaceFile(this.#files, this.#paths.state, text, this.#paths.previous);
    this.#revision = revision;
    this.#savedAt = savedAt;
    await this.#journal?.startOver();
  }

  async #takeLock(): Promise<void> {
    if (this.#lock !== null && !(await this.#lock.held())) {
      await this.#lock.release();
      this.#lock = null;
      // Whoever held the new one meanwhile wrote what is not in memory, and is now overwritten.
      this.#markAll('rolled-back');
    }
    if (this.#lock !== null) return;
    const { path, instance } = this.#options;
    if (!this.#started) {
      const names = await this.#files.readdir(dirname(path));
      const { lock, owner } = lockPaths(path);
      this.#lockWasThere = names.includes(basename(lock)) || names.includes(basename(owner));
    }
    this.#lock = await ExclusiveLock.acquire(this.#files, path, instance, this.#nowText());
  }

  async #renewJournal(): Promise<void> {
    // It may be one whose flush has failed; what closing it says changes nothing.
    await this.#journal?.close().catch(() => undefined);
    this.#journal = null;
    this.#journal = await Journal.create(this.#files, this.#paths.journal);
    await syncDirectory(this.#files, dirname(this.#paths.journal));
  }

  #recover(): Promise<Found> {
    return recover(this.#files, this.#paths, this.#options.loss, this.#lockWasThere);
  }

  /** Memory becomes what was found; what was lost gets its marker, for the next write to keep. */
  #adopt({ document, loss, recordedAt }: Found): void {
    this.#id = document.id;
    this.#revision = document.revision;
    this.#attempted = Math.max(this.#attempted, document.revision);
    this.#others = document.others;
    this.#lost = document.lost;
    this.#scopes = new Map(document.scopes);
    this.#blank = emptyScopeState(this.#lost);
    const { clock } = this.#options;
    const ahead = recordedAt !== null && recordedAt > clock.now();
    const behindMs = ahead ? clock.continueFrom(recordedAt).behindMs : 0;
    if (loss !== null) this.#markAll(loss);
    if (behindMs > 0) this.#markScopes({ reason: 'clock', at: clock.now(), recordedAt });
  }

  /** Nobody knows which scopes there were, so one that turns up new is marked too. */
  #markAll(reason: LossReason): void {
    this.#lost = { reason, at: this.#options.clock.now(), recordedAt: null };
    this.#blank = emptyScopeState(this.#lost);
    this.#markScopes(this.#lost);
  }

  #markScopes(loss: StateLoss): void {
    for (const [scope, { hot, ...rest }] of this.#scopes) {
      // A marker of the clock that nobody has acted on yet says more than any other.
      const lost = hot.lost?.reason === 'clock' && loss.reason !== 'clock' ? hot.lost : loss;
      this.#scopes.set(scope, { ...rest, hot: { ...hot, lost } });
    }
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

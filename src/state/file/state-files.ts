import { rfc3339 } from '../../platform/clock.js';
import { type FileSystem, replaceFile, SYSTEM_FILES } from '../../platform/durable-file.js';
import { invariant } from '../../platform/invariant.js';
import { TidegateError } from '../../platform/tidegate-error.js';
import { HeldState } from '../held-state.js';
import { type Instant, SCHEMA, type ScopeState } from '../scope-state.js';
import { type Doubtful, setAside } from '../set-aside.js';
import type { SoleStore, SoleStoreOptions } from '../sole-repository.js';
import { StoreLock } from '../store-lock.js';
import { problemOf, writeFault } from '../write-fault.js';
import { encodeDocument } from './document.js';
import type { RecordedScope } from './journal.js';
import { Journals } from './journals.js';
import { type Found, recover, type StorePaths, storePaths } from './recovery.js';

/** How far state.json may lie behind the journals. */
const SAVE_EVERY_MS = 1_000;
/**
 * A commit looks whether the files are still those that are open, unless one has within this time. Not
 * each one: asking for a file's times makes its next write dearer (see StateDatabase).
 */
const LOOK_EVERY_MS = 100;
/** A write of it that takes longer is worth a word. */
const SLOW_MS = 5_000;

/**
 * The files of one store, and what is durable in them.
 *
 * A commit appends to a journal. Once a second state.json is written as it stands, beside the commits
 * that follow: none waits for it, and if it fails, the journals have it all.
 *
 * A start after a failure of any other kind writes state.json anew, with a revision above whatever the
 * failed write may have left on the disk, and begins new journals: a file whose flush has failed is
 * never trusted again.
 */
export class StateFiles implements SoleStore {
  readonly kind = 'file';
  readonly held: HeldState;
  started = false;
  readonly #options: SoleStoreOptions;
  readonly #files: FileSystem;
  readonly #paths: StorePaths;
  readonly #lock: StoreLock;
  #journals: Journals | null = null;
  #others: Readonly<Record<string, unknown>> = {};
  /** Revision that a durable state.json has. */
  #savedRevision = 0;
  #lookedAt: Instant = 0;
  /** When the next write of state.json may begin. */
  #saveAt: Instant = 0;
  #saving: Promise<void> | null = null;
  #savingSince: Instant = 0;
  /** Why the latest write of state.json failed. */
  #unsaved: TidegateError | null = null;

  constructor(options: SoleStoreOptions) {
    const { path, clock, files = SYSTEM_FILES } = options;
    this.#options = options;
    this.#files = files;
    this.#paths = storePaths(path);
    this.held = new HeldState(clock);
    this.#lock = new StoreLock(files, options);
  }

  get path(): string {
    return this.#paths.state;
  }

  /** When state.json is to be brought up to the journals. */
  get upkeepDueIn(): number | null {
    if (!this.#behind) return null;
    const early = this.#journals?.full === true && this.#saving === null && this.#unsaved === null;
    return early ? 0 : this.#saveAt - this.#now();
  }

  get concern(): string | null {
    const { state } = this.#paths;
    if (this.#unsaved !== null) {
      return `the journals have what ${state} lacks: ${problemOf(this.#unsaved)}`;
    }
    const ms = this.#saving === null ? 0 : this.#now() - this.#savingSince;
    return ms < SLOW_MS ? null : `writing ${state} has not ended for ${ms} ms: look at its disk`;
  }

  get #behind(): boolean {
    return this.started && this.held.revision > this.#savedRevision;
  }

  async start(): Promise<void> {
    await this.#saving;
    await this.#closeJournals();
    // Whoever held it meanwhile wrote what is not in memory, and is now overwritten.
    if (await this.#lock.take()) this.held.markAll('rolled-back');
    const found = this.started ? null : await this.#recover();
    if (found !== null) {
      this.#adopt(found);
      for (const file of found.setAside) await this.#setAside(file);
    }
    await this.#rewrite();
    this.started = true;
    for (const file of found?.setJournalsAside ?? []) await this.#setAside(file);
    await this.#makeJournals();
  }

  async peek(): Promise<void> {
    if (!this.#lock.taken) this.#adopt(await this.#recover());
  }

  async commit(changed: ReadonlyMap<string, ScopeState>): Promise<void> {
    if ((this.upkeepDueIn ?? 1) <= 0) await this.upkeep();
    if (this.#now() - this.#lookedAt >= LOOK_EVERY_MS) await this.#look();
    await this.#append(await this.#roomyJournals(), changed);
    this.held.apply(changed);
  }

  /** Begins to bring state.json up to the journals, unless an earlier write of it is under way. */
  async upkeep(): Promise<void> {
    this.#saveAt = this.#now() + SAVE_EVERY_MS;
    if (this.#saving !== null) return;
    await this.#look();
    await this.#journals?.turn();
    this.#savingSince = this.#now();
    this.#saving = this.#save().finally(() => (this.#saving = null));
  }

  /**
   * Leaves all there is in state.json, and says so in it. The journals stay: with the .bak they restore a
   * lost one.
   */
  async tidy(): Promise<void> {
    await this.#saving;
    await this.#closeJournals();
    if (this.started) await this.#rewrite();
  }

  async release(): Promise<void> {
    await this.#saving;
    await this.#closeJournals();
    await this.#lock.release();
  }

  /**
   * What is written to a file that others can't find is durable and lost all the same. In memory it is
   * not, so the next start writes it anew.
   *
   * @throws TidegateError STATE_UNAVAILABLE
   */
  async #look(): Promise<void> {
    const now = this.#now();
    const journals = this.#journals?.areInPlace() ?? true;
    const [locked, inPlace] = await Promise.all([this.#lock.held(), journals]);
    if (!locked) throw lockLost(this.#paths.state);
    if (!inPlace) throw journalsLost(this.#paths.state);
    this.#lookedAt = now;
  }

  /** The journals, with room for another record. */
  async #roomyJournals(): Promise<Journals> {
    const journals = this.#journals;
    invariant(this.started && journals !== null, 'a commit needs a started store');
    if (!journals.overfull) return journals;
    await this.#saving;
    if (this.#unsaved !== null) throw this.#unsaved;
    await this.upkeep();
    return journals;
  }

  async #append(journals: Journals, changed: ReadonlyMap<string, ScopeState>): Promise<void> {
    const scopes = new Map<string, RecordedScope>();
    for (const [scope, state] of changed) {
      const { cold, ...rest } = state;
      scopes.set(scope, cold === this.held.scopes.get(scope)?.cold ? rest : state);
    }
    const revision = this.held.attempt();
    await journals.append({
      revision,
      major: SCHEMA.major,
      id: this.held.id,
      at: this.#now(),
      scopes,
    });
    this.held.wrote(revision);
  }

  /** Never rejects: that state.json lies behind is bad, and no reason to forward nothing. */
  async #save(): Promise<void> {
    try {
      await this.#write(this.held.revision);
      this.#journals?.saved();
      this.#unsaved = null;
    } catch (error) {
      this.#unsaved = writeFault(this.#paths.state, error);
    }
  }

  /** With a revision of its own: behind it nothing that a failed write has left is believed. */
  async #rewrite(): Promise<void> {
    if (!(await this.#lock.held())) throw lockLost(this.#paths.state);
    const revision = this.held.attempt();
    this.#saveAt = this.#now() + SAVE_EVERY_MS;
    await this.#write(revision);
    this.held.wrote(revision);
    this.#unsaved = null;
  }

  async #write(revision: number): Promise<void> {
    const { id, lost, scopes } = this.held;
    const journalsSince = this.#journals?.since ?? null;
    const [savedAt, others] = [this.#now(), this.#others];
    const document = { id, revision, journalsSince, savedAt, lost, scopes, others };
    const { state, previous } = this.#paths;
    await replaceFile(this.#files, state, encodeDocument(document), previous);
    this.#savedRevision = revision;
  }

  /** One of them may have failed. A state.json that is written after this is whole without them. */
  async #closeJournals(): Promise<void> {
    await this.#journals?.close();
    this.#journals = null;
  }

  /**
   * New journals, and a state.json that a start does not believe without them. A crash in between leaves
   * the one before, which needs none: there are no commits yet.
   */
  async #makeJournals(): Promise<void> {
    const { id, revision } = this.held;
    const first = { revision, major: SCHEMA.major, id, at: this.#now() };
    this.#journals = await Journals.create(this.#files, this.#paths.journals, first);
    await this.#write(revision);
    // Nor the .bak, for whoever puts that in its place.
    await this.#write(revision);
  }

  #recover(): Promise<Found> {
    return recover(this.#files, this.#paths, this.#options.loss, this.#lock.wasThere);
  }

  #adopt(found: Found): void {
    this.#others = found.stored.others;
    this.held.adopt(found);
  }

  async #setAside(file: Doubtful): Promise<void> {
    const as = await setAside(this.#files, file.path, rfc3339(this.#now()));
    this.#options.onSetAside?.({ ...file, as });
  }

  #now(): Instant {
    return this.#options.clock.now();
  }
}

function lockLost(path: string): TidegateError {
  return new TidegateError('STATE_UNAVAILABLE', `the lock of ${path} was removed or replaced`, {
    hint: 'leave the files beside it alone; the store goes on once it has a new lock',
  });
}

function journalsLost(path: string): TidegateError {
  const message = `the journals of ${path} were removed, replaced or cut short by another program`;
  return new TidegateError('STATE_UNAVAILABLE', message, {
    hint: 'leave the files beside it alone; the store writes all of them anew from memory',
  });
}

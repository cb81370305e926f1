import { rfc3339 } from '../../platform/clock.js';
import { type FileSystem, moveInPlace, SYSTEM_FILES } from '../../platform/durable-file.js';
import { invariant } from '../../platform/invariant.js';
import type { TidegateError } from '../../platform/tidegate-error.js';
import { HeldState, type StoredState } from '../held-state.js';
import type { Instant, ScopeState } from '../scope-state.js';
import { setAside } from '../set-aside.js';
import type { SoleStore, SoleStoreOptions } from '../sole-repository.js';
import { StoreLock } from '../store-lock.js';
import { problemOf, writeFault } from '../write-fault.js';
import { readDatabase } from './read-database.js';
import { type DatabasePaths, databasePaths, exists, isWhole, recover } from './recovery.js';
import { allWrites, storeWrite, writesOf } from './rows.js';
import type { Connection } from './requests.js';
import type { Commit } from './state-database.js';

/** How far the copy in `.bak` may lie behind. */
const BACKUP_EVERY_MS = 60_000;
/** After the first commit of a run: one that is killed again and again has a copy all the same. */
const FIRST_BACKUP_MS = 1_000;

/**
 * The database of one store, and what is durable in it.
 *
 * A start after a failure writes every row anew, with a revision above whatever the failed write may
 * have left on the disk: SQLite then writes all pages again of which the flush may have failed.
 */
export class SqliteStore implements SoleStore {
  readonly kind = 'sqlite';
  readonly held: HeldState;
  started = false;
  readonly #options: SoleStoreOptions;
  readonly #files: FileSystem;
  readonly #connection: Connection;
  readonly #paths: DatabasePaths;
  readonly #lock: StoreLock;
  /** Since when `.bak` is behind, or when the latest try to renew it failed; */
  #changedAt: Instant | null = null;
  /** and why it did. */
  #notBackedUp: TidegateError | null = null;

  constructor(options: SoleStoreOptions, connection: Connection) {
    const { path, clock, files = SYSTEM_FILES } = options;
    this.#options = options;
    this.#files = files;
    this.#connection = connection;
    this.#paths = databasePaths(path);
    this.#lock = new StoreLock(files, options);
    this.held = new HeldState(clock);
  }

  get path(): string {
    return this.#paths.state;
  }

  get concern(): string | null {
    if (this.#notBackedUp === null) return null;
    return `${this.#paths.state} has all charges, but its copy lies behind: ${problemOf(this.#notBackedUp)}`;
  }

  get upkeepDueIn(): number | null {
    if (this.#changedAt === null) return null;
    return this.#changedAt + BACKUP_EVERY_MS - this.#options.clock.now();
  }

  async start(): Promise<void> {
    // Whoever held it meanwhile wrote what is not in memory, and is now overwritten.
    if (await this.#lock.take()) this.held.markAll('rolled-back');
    // Nothing of what follows may work on files that this process has open.
    await this.#connection.close();
    const unusable = await this.#read();
    if (unusable !== null) await this.#create(unusable);
    const commit = this.#whole(this.held.attempt(), true);
    await this.#connection.call({ call: 'open', path: this.#paths.state, commit });
    this.held.wrote(commit.revision);
    this.started = true;
    this.#changedAt = commit.at - BACKUP_EVERY_MS + FIRST_BACKUP_MS;
  }

  async peek(): Promise<void> {
    if (!this.#lock.taken) this.held.adopt(await this.#recover());
  }

  async commit(changed: ReadonlyMap<string, ScopeState>): Promise<void> {
    invariant(this.started, 'a commit needs a started store');
    const revision = this.held.attempt();
    const at = this.#options.clock.now();
    const writes = [...changed].flatMap(([scope, state]) =>
      writesOf(scope, state, this.held.scopes.get(scope)),
    );
    await this.#connection.call({ call: 'commit', commit: { revision, at, writes } });
    this.held.wrote(revision);
    this.held.apply(changed);
    this.#changedAt ??= at;
  }

  /** Empties the log into the database, and renews the copy beside it. */
  async upkeep(): Promise<void> {
    await this.#connection.call({ call: 'checkpoint' });
    try {
      await this.#backUp();
      this.#notBackedUp = null;
    } catch (error) {
      // Bad, and no reason to forward nothing: what is durable is in the database.
      this.#notBackedUp = writeFault(this.#paths.previous, error);
      this.#changedAt = this.#options.clock.now();
    }
  }

  async tidy(): Promise<void> {
    if (!this.started) return;
    const { id, lost } = this.held;
    const revision = this.held.attempt();
    const at = this.#options.clock.now();
    // The log goes with the last connection. Only after this may it be missing at the next start.
    const writes = [storeWrite(id, lost, false)];
    await this.#connection.call({ call: 'commit', commit: { revision, at, writes, last: true } });
    this.held.wrote(revision);
    if (this.#changedAt !== null) await this.#backUp();
  }

  async release(): Promise<void> {
    await this.#connection.close();
    await this.#lock.release();
  }

  /** Why a new database is needed; null: it is not. */
  async #read(): Promise<string | null> {
    if (this.started) {
      if (await this.#isOurs()) return null;
      // Replaced, rolled back or damaged under a running instance; what is in memory is newer.
      this.held.markAll('rolled-back');
      return 'it was replaced or damaged while it was in use';
    }
    const found = await this.#recover();
    this.held.adopt(found);
    return found.rebuild;
  }

  /** The files hold what was last written, or last tried. */
  async #isOurs(): Promise<boolean> {
    const found = await readDatabase(this.#files, this.#paths.state);
    if (found.kind !== 'good') return false;
    const { id, revision, altered } = found.value;
    const inRange = revision >= this.held.revision && revision <= this.held.attempted;
    return isWhole(found.value) && !altered && id === this.held.id && inRange;
  }

  #recover() {
    return recover(this.#files, this.#paths, this.#options.loss, this.#lock.wasThere);
  }

  /** Puts a new database in place of whatever is there, which is set aside. */
  async #create(why: string): Promise<void> {
    const { state, log, index, journal } = this.#paths;
    const temporary = `${state}.tmp`;
    // The new one is whole before the old one goes: a restart finds one of them, or signs of a loss.
    // It has no log yet, and says so.
    await this.#make('create', temporary, this.#whole(this.held.revision, false));
    const time = rfc3339(this.#options.clock.now());
    for (const path of [state, log]) {
      if (!(await exists(this.#files, path))) continue;
      const as = await setAside(this.#files, path, time);
      this.#options.onSetAside?.({ path, as, why });
    }
    // What is left of the old one would be applied to the new one.
    for (const path of [index, journal]) await this.#files.rm(path, { force: true });
    await moveInPlace(this.#files, temporary, state);
  }

  async #backUp(): Promise<void> {
    const { previous } = this.#paths;
    const temporary = `${previous}.tmp`;
    // Whoever puts it in the database's place has lost what came after it: the log is missed then.
    await this.#make('copy', temporary, this.#whole(this.held.revision, true));
    await moveInPlace(this.#files, temporary, previous);
    this.#changedAt = null;
  }

  async #make(call: 'create' | 'copy', path: string, commit: Commit): Promise<void> {
    for (const name of [path, `${path}-journal`]) await this.#files.rm(name, { force: true });
    await this.#connection.call({ call, path, commit });
  }

  #whole(revision: number, inUse: boolean): Commit {
    const { id, lost, scopes } = this.held;
    const at = this.#options.clock.now();
    const stored: StoredState = { id, lost, scopes, revision, savedAt: at };
    return { revision, at, writes: allWrites(stored, inUse) };
  }
}

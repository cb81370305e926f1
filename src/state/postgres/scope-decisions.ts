import type { SteadyClock, TimeSources } from '../../platform/clock.js';
import { checkMajor } from '../parse-state.js';
import type { Instant, ScopeState } from '../scope-state.js';
import type { LossPolicy } from '../state-repository.js';
import type { Fold } from '../update-queue.js';
import type { Database, Session } from './database.js';
import { DatabaseClock } from './database-clock.js';
import type { EnteredStore } from './entry.js';
import { InDoubt, unknownOutcome } from './faults.js';
import {
  type FoundRows,
  type FoundScope,
  isSame,
  type KnownScope,
  readScope,
  StoreReplaced,
  type Version,
} from './scope-row.js';
import { leaveScope, lockScope, writeScope } from './transaction.js';
import { checkAssumption, writeIfAssumed } from './unlocked.js';

/** What one commit has left behind, over its attempts. */
export interface Trail {
  /** A write of which nothing was heard: it stands, it never happened, or it is under way yet. */
  doubt: {
    readonly before: Version;
    readonly written: KnownScope;
    readonly reason: unknown;
  } | null;
}

export interface DecisionOptions {
  readonly loss: LossPolicy;
  /** Of this run of this process: tells its writes from everybody else's. */
  readonly writer: string;
  readonly clock?: Pick<SteadyClock, 'follow'> | undefined;
  readonly monotonic: TimeSources['monotonic'];
}

/**
 * Makes decisions on the scopes of one store, and remembers what it wrote.
 *
 * undisturbed ── the row is another, or held, or anything fails ──► disturbed: under the lock
 *      ▲                                                                  │
 *      └────── the lock found the row as this process had left it ◄───────┘
 *
 * Undisturbed, a decision is made on what is remembered, and holds only if the row proves to be
 * that; so a replica alone pays one round trip, and many that contend pay two, in turn.
 */
export class ScopeDecisions {
  readonly #database: Database;
  readonly #options: DecisionOptions;
  readonly #known = new Map<string, KnownScope>();
  /** The latest instant told of each scope. */
  readonly #told = new Map<string, Instant>();
  readonly #undisturbed = new Set<string>();
  readonly #clock: DatabaseClock;
  #storeId = '';
  #writes = 0;

  constructor(database: Database, options: DecisionOptions) {
    this.#database = database;
    this.#options = options;
    this.#clock = new DatabaseClock(options.monotonic);
  }

  get storeId(): string {
    return this.#storeId;
  }

  /** Of all scopes together. */
  get revision(): number {
    return [...this.#known.values()].reduce((sum, { hot }) => sum + hot.revision, 0);
  }

  known(scope: string): KnownScope | undefined {
    return this.#known.get(scope);
  }

  /** The store that later decisions are about. */
  enter({ id, scopes }: EnteredStore): void {
    this.#undisturbed.clear();
    // Of the same store, what was seen before is what tells whether it went back.
    if (id === this.#storeId) return;
    this.#storeId = id;
    this.#known.clear();
    for (const [name, scope] of scopes) this.#known.set(name, scope);
  }

  /** Something went wrong: the lock shows whether the database takes writes again. */
  distrust(): void {
    this.#undisturbed.clear();
  }

  /** What the rows of a scope say. */
  find(scope: string, rows: FoundRows): FoundScope {
    const { store } = rows;
    if (store.id !== this.#storeId) throw new StoreReplaced();
    checkMajor(store.schema_major);
    const seen = { known: this.#known.get(scope), toldAt: this.#told.get(scope) ?? 0 };
    const found = readScope(rows, this.#options.loss, seen);
    // What is remembered is not what the next decision has to be made on.
    if (!found.asStored) this.#undisturbed.delete(scope);
    this.#clock.read(store.now);
    this.#tell(scope, found.now);
    return found;
  }

  /**
   * One attempt of a commit: resolves once what the fold decided is durable. Whatever it throws has
   * not happened, unless the trail says that it may have.
   */
  async decide(session: Session, scope: string, fold: Fold, trail: Trail): Promise<void> {
    const known = this.#known.get(scope);
    if (trail.doubt === null && known !== undefined && this.#undisturbed.delete(scope)) {
      if (await this.#decideUnlocked(session, scope, fold, known, trail)) {
        this.#undisturbed.add(scope);
        return;
      }
    }
    await this.#decideLocked(session, scope, fold, known, trail);
  }

  /** False: the row is not what it was taken for, and nothing has happened. */
  async #decideUnlocked(
    session: Session,
    scope: string,
    fold: Fold,
    known: KnownScope,
    trail: Trail,
  ): Promise<boolean> {
    const clock = this.#clock.now();
    if (clock === null) return false;
    const now = Math.max(Math.floor(clock), this.#told.get(scope) ?? 0);
    const assumption = { scope, hot: known.hot, now };
    const state = fold.decide(() => known.state, now).get(scope);
    const written = state === undefined ? known : this.#next(known, state, false);
    const reading = await (state === undefined
      ? checkAssumption(this.#database, session, assumption)
      : this.#send(trail, known.hot, written, () =>
          writeIfAssumed(this.#database, session, assumption, written),
        ));
    if (reading === null) return false;
    this.#clock.read(reading);
    // A read may have overtaken the answer, and told a later one.
    this.#tell(scope, Math.max(now, this.#told.get(scope) ?? 0));
    this.#known.set(scope, written);
    return true;
  }

  async #decideLocked(
    session: Session,
    scope: string,
    fold: Fold,
    known: KnownScope | undefined,
    trail: Trail,
  ): Promise<void> {
    const rows = await lockScope(this.#database, session, scope, known);
    const found = this.find(scope, rows);
    const { doubt } = trail;
    if (doubt !== null && isSame(found.hot, doubt.written.hot)) {
      // It stands, and so does what was decided then.
      await leaveScope(this.#database, session);
      trail.doubt = null;
      this.#known.set(scope, doubt.written);
      return;
    }
    if (doubt !== null && !isSame(found.hot, doubt.before)) {
      // Others have written since; whether before it or after, nobody can tell.
      throw unknownOutcome(doubt.reason);
    }
    const decided = fold.decide(() => found.state, found.now).get(scope);
    // After a doubt something is written in any case: what is still under way then comes too late.
    const state = decided ?? (doubt === null ? undefined : found.state);
    if (state === undefined) {
      await leaveScope(this.#database, session);
      const { hot, cold } = found;
      if (found.asStored) this.#known.set(scope, { hot, cold, state: found.state });
    } else {
      const written = this.#next(found, state, !found.exists || found.damage !== null);
      await this.#send(trail, found.hot, written, () =>
        writeScope(this.#database, session, scope, found, written),
      );
      this.#known.set(scope, written);
    }
    const asLeft = known !== undefined && rows.hot?.hot === null;
    if (asLeft && found.asStored && found.aheadMs === 0) this.#undisturbed.add(scope);
  }

  #next(before: KnownScope, state: ScopeState, withCold: boolean): KnownScope {
    this.#writes += 1;
    const writtenBy = `${this.#options.writer}.${this.#writes.toString(36)}`;
    const hot = { revision: before.hot.revision + 1, writtenBy };
    const cold = withCold || restDiffers(before.state, state) ? hot : before.cold;
    return { hot, cold, state };
  }

  /** Sends what commits, and leaves a trail for as long as nobody knows whether it did. */
  async #send<Value>(
    trail: Trail,
    before: Version,
    written: KnownScope,
    send: () => Promise<Value>,
  ): Promise<Value> {
    const earlier = trail.doubt;
    trail.doubt = { before, written, reason: null };
    try {
      const value = await send();
      trail.doubt = null;
      return value;
    } catch (error) {
      if (!(error instanceof InDoubt)) {
        trail.doubt = earlier;
        throw error;
      }
      trail.doubt = { before, written, reason: error.reason };
      throw error.reason;
    }
  }

  #tell(scope: string, now: Instant): void {
    this.#told.set(scope, now);
    this.#options.clock?.follow(now);
  }
}

function restDiffers(before: ScopeState, after: ScopeState): boolean {
  const names = Object.keys({ ...before, ...after }) as (keyof ScopeState)[];
  return names.some((name) => name !== 'hot' && before[name] !== after[name]);
}

import { type SteadyClock, SYSTEM_TIME, type TimeSources } from '../../platform/clock.js';
import { randomHex } from '../../platform/random.js';
import { hasCode, TidegateError } from '../../platform/tidegate-error.js';
import { type Cancel, SYSTEM_TIMERS, type Timers, withDeadline } from '../../platform/timers.js';
import { checkMajor } from '../parse-state.js';
import type {
  Decide,
  LossPolicy,
  Snapshot,
  StateRepository,
  StoreHealth,
} from '../state-repository.js';
import { closedError, type Fold, UpdateQueue } from '../update-queue.js';
import { problemOf } from '../write-fault.js';
import { Database, type Session } from './database.js';
import { enterStore } from './entry.js';
import {
  isConnectionLoss,
  isMissingTable,
  isPassing,
  NoAnswer,
  unavailable,
  unknownOutcome,
} from './faults.js';
import { ScopeDecisions, type Trail } from './scope-decisions.js';
import { StoreReplaced } from './scope-row.js';
import { peekScope } from './transaction.js';

export interface PostgresStoreOptions {
  /** `postgres://user:password@host:port/database?…` */
  readonly url: string;
  /** Shows in the database's list of connections. */
  readonly instance: string;
  readonly loss: LossPolicy;
  /** Is made to go by the database's. */
  readonly clock?: Pick<SteadyClock, 'follow'>;
  readonly timers?: Timers;
  /** Carries the database's clock on between two readings of it. */
  readonly monotonic?: TimeSources['monotonic'];
}

/** How often a database that can't be used is tried again. */
const RETRY_EVERY_MS = 1_000;
/** Of one commit: conflicts, and connections that had been dead for long. */
const MOST_ATTEMPTS = 4;
/** What was accepted before a close has this long; with the connections, closing takes a second more. */
const DRAIN_MS = 1_250;
/** To look whether the database takes writes again. */
const PROBE_MS = 2_000;

/** What ends a start; later they are problems like any other. */
const FINAL = ['STATE_NEWER', 'STATE_CORRUPT'] as const;

/**
 * Opens the store in the database at `options.url`, and its tables if need be. If the database can't
 * be used it is opened all the same, unhealthy, and heals by itself.
 *
 * @throws TidegateError STATE_NEWER, and STATE_CORRUPT under the policy `refuse`.
 */
export async function openPostgresStateRepository(
  options: PostgresStoreOptions,
): Promise<StateRepository> {
  const repository = new PostgresStateRepository(options);
  await repository.open();
  return repository;
}

/**
 * State in one database for many instances: each scope is a row, and a decision is on what the row
 * says when it is written. See ScopeDecisions.
 *
 * healthy ── a commit fails ──► unhealthy ── a commit, or the look once a second, succeeds ──► healthy
 *
 * Unhealthy, every commit tries the database all the same: it may be back sooner than the next look.
 */
class PostgresStateRepository implements StateRepository {
  readonly kind = 'postgres';
  readonly shared = true;
  readonly #options: PostgresStoreOptions;
  readonly #timers: Timers;
  readonly #database: Database;
  readonly #decisions: ScopeDecisions;
  /** Scopes are independent, and so each has a queue; there are no more than are configured. */
  readonly #queues = new Map<string, UpdateQueue>();
  readonly #writer = randomHex(4);
  #entering: Promise<void> | null = null;
  #entered = false;
  #problem: string | null = null;
  #cancelLook: Cancel | null = null;
  #closing: Promise<void> | null = null;

  constructor(options: PostgresStoreOptions) {
    this.#options = options;
    this.#timers = options.timers ?? SYSTEM_TIMERS;
    this.#database = new Database({
      url: options.url,
      applicationName: `tidegate ${options.instance}`.slice(0, 63),
      timers: this.#timers,
    });
    const { loss, clock, monotonic = SYSTEM_TIME.monotonic } = options;
    const writer = this.#writer;
    this.#decisions = new ScopeDecisions(this.#database, { loss, clock, monotonic, writer });
  }

  async open(): Promise<void> {
    try {
      await this.#enter();
    } catch (error) {
      if (FINAL.some((code) => hasCode(error, code))) {
        await this.#database.close();
        throw error;
      }
      this.#fail(unavailable(error, this.#options.url));
    }
  }

  update<Outcome>(scope: string, decide: Decide<Outcome>): Promise<Outcome> {
    if (this.#closing !== null) return Promise.reject(closedError());
    let queue = this.#queues.get(scope);
    if (queue === undefined) {
      queue = new UpdateQueue((fold) => this.#commit(scope, fold));
      this.#queues.set(scope, queue);
    }
    return queue.update(scope, decide);
  }

  async read(scope: string): Promise<Snapshot> {
    const { state, now } = await this.#use(async (session) => {
      const known = this.#decisions.known(scope);
      return this.#decisions.find(scope, await peekScope(this.#database, session, scope, known));
    });
    return { state, now };
  }

  async list(): Promise<readonly string[]> {
    return this.#use(async ({ client }) => {
      const sql = 'select name from tidegate_scopes';
      const work = client.query<{ name: string }>(sql);
      const { rows } = await this.#database.answer(PROBE_MS, work);
      return rows.map(({ name }) => name).sort();
    });
  }

  health(): StoreHealth {
    const problem = this.#problem;
    const { storeId, revision } = this.#decisions;
    return { healthy: problem === null, problem, id: storeId, revision };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#cancelLook?.();
    const drained = Promise.all([...this.#queues.values()].map((queue) => queue.close()));
    await withDeadline(this.#timers, DRAIN_MS, drained, undefined);
    // Where it does not answer, what still waits ends with the connections.
    await this.#database.close();
  }

  async #commit(scope: string, fold: Fold): Promise<void> {
    const trail: Trail = { doubt: null };
    try {
      await this.#attempt((session) => this.#decisions.decide(session, scope, fold, trail), trail);
    } catch (error) {
      this.#decisions.distrust();
      const { doubt } = trail;
      throw this.#fail(
        doubt === null ? unavailable(error, this.#options.url) : unknownOutcome(doubt.reason),
      );
    }
    this.#heal();
  }

  /** For reading: failures are told, and change nothing about health, which is about writing. */
  async #use<Value>(use: (session: Session) => Promise<Value>): Promise<Value> {
    if (this.#closing !== null) throw closedError();
    try {
      return await this.#attempt(use);
    } catch (error) {
      throw unavailable(error, this.#options.url);
    }
  }

  /**
   * Repeats what certainly has not happened and may well happen now, a few times; and what may have
   * happened, since the next attempt sees whether it has.
   */
  async #attempt<Value>(
    use: (session: Session) => Promise<Value>,
    trail: Trail = { doubt: null },
  ): Promise<Value> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        await this.#enter();
        return await this.#database.session(use);
      } catch (error) {
        const replaced = error instanceof StoreReplaced || isMissingTable(error);
        if (replaced) this.#entered = false;
        const answered = !(error instanceof NoAnswer || error instanceof TidegateError);
        const inDoubt = trail.doubt !== null && answered;
        const again = replaced || isPassing(error) || isConnectionLoss(error) || inDoubt;
        if (attempt === MOST_ATTEMPTS || !again) throw error;
      }
    }
  }

  /** Connects, migrates and finds the store, if that is still, or again, to be done. */
  #enter(): Promise<void> {
    if (this.#entered) return Promise.resolve();
    this.#entering ??= this.#enterStore().finally(() => (this.#entering = null));
    return this.#entering;
  }

  async #enterStore(): Promise<void> {
    await this.#database.migrate();
    const entry = {
      previousId: this.#decisions.storeId,
      policy: this.#options.loss,
      newId: randomHex(8),
      writer: this.#writer,
    };
    const store = await this.#database.session((session) =>
      enterStore(this.#database, session, entry),
    );
    this.#decisions.enter(store);
    this.#entered = true;
  }

  #fail(fault: TidegateError): TidegateError {
    this.#problem = problemOf(fault);
    this.#lookSoon();
    return fault;
  }

  #heal(): void {
    this.#problem = null;
    this.#cancelLook?.();
    this.#cancelLook = null;
  }

  #lookSoon(): void {
    if (this.#closing !== null) return;
    this.#cancelLook ??= this.#timers.after(RETRY_EVERY_MS, () => {
      this.#cancelLook = null;
      void this.#look();
    });
  }

  /** Healthy is what takes a write and lets go of every row. */
  async #look(): Promise<void> {
    try {
      const [store] = await this.#attempt(({ client }) =>
        this.#database.answer(
          PROBE_MS,
          Promise.all([
            client.query<{ schema_major: number }>('select schema_major from tidegate_store'),
            client.query('begin isolation level read committed'),
            client.query(`select set_config('lock_timeout', '${RETRY_EVERY_MS}', true)`),
            client.query('update tidegate_store set checked_at = clock_timestamp()'),
            client.query('select from tidegate_scopes order by name for no key update'),
            client.query('commit'),
          ]),
        ),
      );
      for (const { schema_major } of store.rows) checkMajor(schema_major);
      if (this.#closing === null) this.#heal();
    } catch (error) {
      this.#fail(unavailable(error, this.#options.url));
    }
  }
}

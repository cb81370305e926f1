import type { Pool, PoolClient, QueryResult, QueryResultRow } from 'pg';
import { DataSource, type Logger, MigrationExecutor } from 'typeorm';
import { OpenSockets } from '../../platform/open-sockets.js';
import { randomHex } from '../../platform/random.js';
import { type Timers, withDeadline } from '../../platform/timers.js';
import { checkMajor } from '../parse-state.js';
import { closedError } from '../update-queue.js';
import { isMissingTable, isNameUnknownOrTaken, NoAnswer } from './faults.js';
import { MIGRATION_LOCK, MIGRATIONS, MIGRATIONS_TABLE } from './migrations.js';

/** Connections of one instance: a commit for each of a few scopes, and what people ask for. */
export const POOL_SIZE = 4;
/** To get a connection, from the pool or the server. */
const CONNECT_MS = 1_000;
/** Of one round trip of a few small statements: longer than the server may take by its timeouts. */
export const ANSWER_MS = 2_500;
/** A migration, or waiting for one that another replica runs. */
const MIGRATE_MS = 60_000;

/** TypeORM prints a migration that fails, whatever `logging` says; we tell it in our own log, once. */
const SILENT: Logger = {
  logQuery: () => {},
  logQueryError: () => {},
  logQuerySlow: () => {},
  logSchemaBuild: () => {},
  logMigration: () => {},
  log: () => {},
};

export interface DatabaseOptions {
  /** `postgres://…`; TLS and the rest by its parameters, as the driver reads them. */
  readonly url: string;
  /** Shows in `pg_stat_activity`. */
  readonly applicationName: string;
  readonly timers: Timers;
}

/** A connection while it is in use. */
export interface Session {
  readonly client: PoolClient;
  /** Why it is of no use any more, if that is known. */
  readonly failure: Error | null;
}

/**
 * The pool of connections, and the tables in the database behind it.
 *
 * Nothing here relies on a session beyond its transaction, so that a pooler may hand every
 * transaction to another server connection: settings are for the transaction only, the migrations'
 * advisory lock is the transaction's, too, and statements lose their names if a session forgets one.
 */
export class Database {
  readonly #options: DatabaseOptions;
  #source: DataSource | null = null;
  /** Of the present source and of those before it, as long as they are open. */
  readonly #sockets = new OpenSockets();
  /** For good. */
  #closed = false;
  /** Counts failures to answer: connections made before one may be as dead as the one that failed. */
  #generation = 0;
  readonly #generations = new WeakMap<PoolClient, number>();
  /** Of this process, so that no session can have another statement by a name of ours. */
  readonly #names = `tidegate_${randomHex(8)}`;
  #sessionsKeepNames = true;

  constructor(options: DatabaseOptions) {
    this.#options = options;
  }

  /** Connects, if it has not yet. */
  async #connect(): Promise<DataSource> {
    this.#assertOpen();
    if (this.#source !== null) return this.#source;
    const { applicationName } = this.#options;
    const url = withVerifiedTls(this.#options.url);
    const source = new DataSource({
      type: 'postgres',
      url,
      applicationName,
      entities: [],
      migrations: MIGRATIONS,
      migrationsTableName: MIGRATIONS_TABLE,
      synchronize: false,
      logger: SILENT,
      installExtensions: false,
      poolSize: POOL_SIZE,
      connectTimeoutMS: CONNECT_MS,
      // An idle connection that breaks is no event: the next use finds out.
      poolErrorHandler: () => undefined,
      // The statements of one step travel together: see transaction.ts.
      extra: {
        pipeline: true,
        keepAlive: true,
        idleTimeoutMillis: 30_000,
        stream: () => this.#sockets.create(),
      },
    });
    try {
      await this.answer(CONNECT_MS + ANSWER_MS, source.initialize());
      this.#assertOpen();
    } catch (error) {
      // It has a pool already if only its first statements failed, or may be there late.
      this.#sockets.cut();
      await this.#end(source);
      throw error;
    }
    this.#source = source;
    return source;
  }

  /**
   * Brings the tables up to date; replicas that start together do it one after the other, and all
   * but the first find nothing left to do. Returns the names of the migrations that ran.
   */
  async migrate(): Promise<readonly string[]> {
    const source = await this.#connect();
    if ((await this.pendingMigrations()).length === 0) return [];
    try {
      return await this.answer(MIGRATE_MS, runMigrations(source));
    } catch (error) {
      // Its connection may be stuck in the pool.
      await this.#disconnect();
      throw error;
    }
  }

  /** Names of the migrations to run; asks without the right to create anything. */
  async pendingMigrations(): Promise<readonly string[]> {
    await this.#connect();
    const names = MIGRATIONS.map(({ name }) => name);
    try {
      const done = await this.session(async ({ client }) => {
        const work = client.query<{ name: string }>(`select name from ${MIGRATIONS_TABLE}`);
        return new Set((await this.answer(ANSWER_MS, work)).rows.map(({ name }) => name));
      });
      return names.filter((name) => !done.has(name));
    } catch (error) {
      if (isMissingTable(error)) return names;
      throw error;
    }
  }

  /** @throws TidegateError STATE_NEWER if a later version has raised the schema of what is there. */
  async assertReadable(): Promise<void> {
    const sql = 'select schema_major from tidegate_store';
    try {
      const { rows } = await this.session(({ client }) =>
        this.answer(ANSWER_MS, client.query<{ schema_major: number }>(sql)),
      );
      for (const { schema_major } of rows) checkMajor(schema_major);
    } catch (error) {
      if (!isMissingTable(error)) throw error;
    }
  }

  /** Runs `use` on a connection of its own. One that failed, or did not answer in time, is closed. */
  async session<Value>(use: (session: Session) => Promise<Value>): Promise<Value> {
    const client = await this.#acquire();
    const session = { client, failure: null as Error | null };
    // Without a listener a connection that breaks between two statements would end the process.
    const onError = (error: Error) => (session.failure = error);
    client.on('error', onError);
    let broken = true;
    try {
      const value = await use(session);
      broken = false;
      return value;
    } catch (error) {
      if (error instanceof NoAnswer) {
        this.#generation += 1;
        cut(client);
      }
      throw error;
    } finally {
      client.release(broken);
      // One that is closed may still report how.
      if (!broken) client.off('error', onError);
    }
  }

  /**
   * A statement that each session parses and plans once, which is a third of its time. Behind a
   * pooler a session may not know the name, or know it already; then nothing has happened, and it is
   * done without a name from there on.
   */
  async named<Row extends QueryResultRow>(
    { client }: Session,
    name: string,
    text: string,
    values: unknown[],
  ): Promise<QueryResult<Row>> {
    if (this.#sessionsKeepNames) {
      try {
        return await client.query<Row>({ name: `${this.#names}_${name}`, text, values });
      } catch (error) {
        if (!isNameUnknownOrTaken(error)) throw error;
        this.#sessionsKeepNames = false;
      }
    }
    return client.query<Row>(text, values);
  }

  /** What `work` resolves to; rejects with NoAnswer if that takes too long. */
  async answer<Value>(ms: number, work: Promise<Value>): Promise<Value> {
    const late = Symbol('late');
    const value = await withDeadline(this.#options.timers, ms, work, late);
    if (value === late) throw new NoAnswer(ms);
    return value as Value;
  }

  /** For good: closes every connection, also one that is just being made, or stuck. Takes a second at most. */
  async close(): Promise<void> {
    this.#closed = true;
    // Nobody else would end those of a source that is not there yet.
    if (this.#source === null) this.#sockets.cut();
    await this.#disconnect();
  }

  async #disconnect(): Promise<void> {
    const source = this.#source;
    this.#source = null;
    if (source !== null) await this.#end(source);
  }

  async #end(source: DataSource): Promise<void> {
    const ended = source.driver.disconnect().catch(() => undefined);
    await withDeadline(this.#options.timers, CONNECT_MS, ended, undefined);
    // The driver waits for an answer to what is under way, and with it the process would.
    this.#sockets.cut();
  }

  async #acquire(): Promise<PoolClient> {
    for (;;) {
      const client = await this.#pool().connect();
      const generation = this.#generations.get(client) ?? this.#generation;
      this.#generations.set(client, generation);
      if (generation === this.#generation) return client;
      // At most a pool full of them.
      client.on('error', () => undefined);
      client.release(true);
    }
  }

  /** @throws TidegateError STATE_CLOSED, which nobody takes for a connection that was lost. */
  #assertOpen(): void {
    if (this.#closed) throw closedError();
  }

  #pool(): Pool {
    this.#assertOpen();
    if (this.#source === null) throw new Error('there is no connection');
    // TypeORM's driver keeps its pool in `master`; the type of a driver does not say so.
    return (this.#source.driver as unknown as { readonly master: Pool }).master;
  }
}

/** The driver itself would wait for the answer before it closes a connection; its types do not show the socket. */
function cut(client: PoolClient): void {
  (
    client as unknown as { readonly connection: { readonly stream: { destroy(): void } } }
  ).connection.stream.destroy();
}

/**
 * `prefer`, `require` and `verify-ca` mean `verify-full`, as they do to this version of the driver:
 * later ones will check less, and this one says so at each start.
 */
export function withVerifiedTls(url: string): string {
  if (/[?&]uselibpqcompat=/.test(url)) return url;
  return url.replace(/([?&]sslmode=)(?:prefer|require|verify-ca)(?=&|$)/g, '$1verify-full');
}

/** In one transaction, the lock's. */
async function runMigrations(source: DataSource): Promise<readonly string[]> {
  const runner = source.createQueryRunner();
  try {
    await runner.startTransaction('READ COMMITTED');
    await runner.query(
      `select set_config('lock_timeout', '${MIGRATE_MS}', true),
        set_config('idle_in_transaction_session_timeout', '${MIGRATE_MS}', true)`,
    );
    await runner.query(`select pg_advisory_xact_lock(${MIGRATION_LOCK})`);
    const executor = new MigrationExecutor(source, runner);
    executor.transaction = 'all';
    const done = await executor.executePendingMigrations();
    await runner.commitTransaction();
    return done.map(({ name }) => name);
  } catch (error) {
    await runner.rollbackTransaction().catch(() => undefined);
    throw error;
  } finally {
    await runner.release();
  }
}

import { Pool } from 'pg';
import { OpenSockets } from '../../platform/open-sockets.js';
import { reasonOf, TidegateError } from '../../platform/tidegate-error.js';
import { SYSTEM_TIMERS, withDeadline } from '../../platform/timers.js';
import {
  entryOf,
  type EventJournal,
  type FoundRow,
  type JournalEntry,
  type JournalQuery,
  KEPT_MS,
  MOST_READ,
  MOST_ROWS,
  type RequestNumber,
  rowOf,
  STREAMS,
} from '../event-journal.js';
import type { Instant } from '../scope-state.js';
import { withVerifiedTls } from './database.js';

export interface PostgresJournalOptions {
  /** `postgres://…`, that of the state. */
  readonly url: string;
  /** Shows in the database's list of connections. */
  readonly instance: string;
}

const CONNECT_MS = 2_000;
const STATEMENT_MS = 5_000;
const CLOSE_MS = 1_000;
/** An idle connection is given back: events are rare. */
const IDLE_MS = 10_000;
const NAMES = ['stream', 'scope', 'id', 'at', 'prefix', 'first', 'last', 'document'] as const;
const COLUMNS = NAMES.join(', ');

/**
 * A column of all entries is one parameter. Each document travels as text of its own: `json` keeps whatever
 * escapes are in it, while everything in Postgres that takes JSON apart fails at `\u0000` and at half a
 * surrogate pair, and with one such document all of its batch would.
 */
const INSERT = `insert into tidegate_journal (${COLUMNS})
  select stream, scope, id, at, prefix, first, last, document::json
  from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[],
    $7::bigint[], $8::text[]) as entries(${COLUMNS})
  on conflict do nothing`;

/**
 * A table beside the state's, on one connection of its own, so that nothing told of the past ever takes
 * a connection from an admission. The table is made by the state's migrations.
 */
export class PostgresEventJournal implements EventJournal {
  readonly #pool: Pool;
  readonly #sockets = new OpenSockets();
  #problem: string | null = null;
  #closing: Promise<void> | null = null;

  constructor({ url, instance }: PostgresJournalOptions) {
    this.#pool = new Pool({
      connectionString: withVerifiedTls(url),
      application_name: `tidegate ${instance} events`.slice(0, 63),
      max: 1,
      connectionTimeoutMillis: CONNECT_MS,
      query_timeout: STATEMENT_MS,
      idleTimeoutMillis: IDLE_MS,
      allowExitOnIdle: true,
      stream: () => this.#sockets.create(),
    });
    // An idle connection that breaks is no event: the next use finds out.
    this.#pool.on('error', () => undefined);
  }

  async append(entries: readonly JournalEntry[]): Promise<void> {
    const columns = NAMES.map((name) => entries.map((entry) => rowOf(entry)[name]));
    await this.#query(INSERT, columns);
  }

  async read({ stream, scope, from, most }: JournalQuery): Promise<readonly JournalEntry[]> {
    const rows = await this.#query(
      `select ${COLUMNS} from tidegate_journal
       where stream = $1 and at >= $2 and ($3::text is null or scope = $3)
       order by at desc, id desc, scope desc limit $4`,
      [stream, from, scope, Math.min(most, MOST_READ)],
    );
    return rows.map(entryOf).toReversed();
  }

  async find({ prefix, number }: RequestNumber): Promise<readonly JournalEntry[]> {
    const rows = await this.#query(
      `select ${COLUMNS} from tidegate_journal
       where prefix = $1 and prefix <> '' and last >= $2 and first <= $2
       order by at, id, scope`,
      [prefix, number],
    );
    return rows.map(entryOf);
  }

  async prune(now: Instant): Promise<void> {
    for (const stream of STREAMS) {
      const many = `select at from tidegate_journal where stream = $1
        order by at desc limit 1 offset $3`;
      await this.#query(
        `delete from tidegate_journal where stream = $1
         and at < greatest($2::bigint, coalesce((${many}), 0))`,
        [stream, Math.max(0, now - KEPT_MS[stream]), MOST_ROWS[stream]],
      );
    }
  }

  get problem(): string | null {
    return this.#problem;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await withDeadline(SYSTEM_TIMERS, CLOSE_MS, this.#pool.end(), undefined);
    // The driver waits for an answer to what is under way, and with it the process would.
    this.#sockets.cut();
  }

  async #query(text: string, values: readonly unknown[]): Promise<readonly FoundRow[]> {
    try {
      const { rows } = await this.#pool.query<FoundRow>(text, [...values]);
      this.#problem = null;
      return rows;
    } catch (error) {
      const reason = reasonOf(error);
      this.#problem = `the table tidegate_journal can't be used: ${reason}`;
      throw new TidegateError('STATE_UNAVAILABLE', this.#problem, { cause: error });
    }
  }
}

import type { QueryResult } from 'pg';
import { SCHEMA } from '../scope-state.js';
import { ANSWER_MS, type Database, type Session } from './database.js';
import { InDoubt, isCertainFailure, sqlState } from './faults.js';
import {
  type ColdRow,
  type FoundRows,
  type FoundScope,
  type HotRow,
  type KnownScope,
  NEVER,
  type StoreRow,
  StoreReplaced,
  type Version,
} from './scope-row.js';

/*
 * One decision under the lock of its row, in two round trips:
 *
 *   begin · settings · select … for no key update · clock, store and cold part   ──►
 *                                                          (decide, synchronously)
 *   update · commit                                                              ──►
 *
 * The statements of a round trip travel together, and are answered in order; those of the first are
 * one string, for every message has its price on both sides. The clock is read by a statement of its
 * own, after the row is ours: within the locking one it might be from before the wait. The cold part,
 * too: READ COMMITTED gives each statement a snapshot of its own, and the locking one's may be from
 * before the last commit.
 *
 * The longest anybody is delayed by a replica that stops with the row in its hands is the idle
 * timeout: then the server ends its session. The others wait for the row longer than that, or they
 * would all fail because of it; and less than the two seconds that a request waits.
 */
const IDLE_MS = 750;
const LOCK_MS = 1_500;
const STATEMENT_MS = 1_800;

/** One string for the parser: a fifth of the whole is saved. */
export const BEGIN = `begin isolation level read committed;
  set local lock_timeout = ${LOCK_MS};
  set local statement_timeout = ${STATEMENT_MS};
  set local idle_in_transaction_session_timeout = ${IDLE_MS}`;

/** `off` and `local` would call durable what is not; anything stronger than `on` is kept. */
const WAITS_FOR_NO_DISK = new Set(['off', 'local']);

const INSERT_HOT = `insert into tidegate_scopes
  (name, revision, written_by, recorded_at, clock_ahead_ms, schema_major, hot, cold_revision)
  values ($1, $2, $3, $4, $5, $6, $7, $2)`;

const update = (also: string) => `update tidegate_scopes set
  revision = $2, written_by = $3, recorded_at = $4, clock_ahead_ms = $5, schema_major = $6, hot = $7
  ${also} where name = $1`;

const UPDATE_HOT = update('');
const UPDATE_HOT_OF_BOTH = update(', cold_revision = $2');

const WRITE_COLD = `insert into tidegate_scopes_cold (name, revision, written_by, cold, others)
  values ($1, $2, $3, $4, $5)
  on conflict (name) do update set revision = excluded.revision,
    written_by = excluded.written_by, cold = excluded.cold, others = excluded.others`;

const SET_ASIDE = `insert into tidegate_set_aside (name, why, hot, cold)
  select $1, $2, (select hot from tidegate_scopes where name = $1),
    (select cold from tidegate_scopes_cold where name = $1)`;

/** Begins a transaction, and waits for the scope's row to be ours. */
export async function lockScope(
  database: Database,
  session: Session,
  scope: string,
  known: KnownScope | undefined,
): Promise<FoundRows> {
  const { hot, storeAndCold } = selects(session, scope, known);
  const both = `${hot} for no key update; ${storeAndCold}`;
  const results = await ask(database, session, `${BEGIN}; ${both}`);
  const found = rowsOf(results.at(-2), results.at(-1));
  if (found.hot !== undefined || found.cold.cold_revision === null) return found;
  // Either it is gone, or a commit that made both parts came between the two statements.
  const again = await ask(database, session, both);
  return rowsOf(again.at(-2), again.at(-1));
}

/** Reads without waiting for anybody. */
export async function peekScope(
  database: Database,
  session: Session,
  scope: string,
  known: KnownScope | undefined,
): Promise<FoundRows> {
  const { hot, storeAndCold } = selects(session, scope, known);
  // Both parts as of one moment.
  const begin = 'begin isolation level repeatable read, read only';
  const results = await ask(database, session, `${begin}; ${hot}; ${storeAndCold}; commit`);
  return rowsOf(results.at(-3), results.at(-2));
}

/** Ends a transaction that wrote nothing. */
export async function leaveScope(database: Database, { client }: Session): Promise<void> {
  await database.answer(ANSWER_MS, client.query('rollback'));
}

/** The statements that read a scope; a part that is known already is not sent again. */
function selects({ client }: Session, scope: string, known: KnownScope | undefined) {
  const text = (value: string) => client.escapeLiteral(value);
  const isKnown = (table: string, { revision, writtenBy }: Version) =>
    `${table}.revision = ${revision} and ${table}.written_by = ${text(writtenBy)}`;
  return {
    hot: `select revision, written_by, recorded_at, clock_ahead_ms, schema_major,
      cold_revision as least_cold,
      case when ${isKnown('scope', known?.hot ?? NEVER)} then null else hot::text end as hot
      from tidegate_scopes scope where name = ${text(scope)}`,
    storeAndCold: `select store.id, store.schema_major, store.lost::text as lost,
      current_setting('synchronous_commit') as synchronous_commit,
      date_part('epoch', clock_timestamp()) * 1000 as now,
      part.revision as cold_revision, part.written_by as cold_written_by,
      case when ${isKnown('part', known?.cold ?? NEVER)} then null else part.cold::text end as cold,
      part.others::text as others
      from tidegate_store store left join tidegate_scopes_cold part on part.name = ${text(scope)}`,
  };
}

/** Several statements as one message, which is parsed, answered and read at once. */
async function ask(database: Database, { client }: Session, sql: string): Promise<QueryResult[]> {
  const results: unknown = await database.answer(ANSWER_MS, client.query(sql));
  return results as QueryResult[];
}

function rowsOf(hot: QueryResult | undefined, rest: QueryResult | undefined): FoundRows {
  const row = rest?.rows[0] as (StoreRow & ColdRow) | undefined;
  if (row === undefined) throw new StoreReplaced();
  return { store: row, hot: hot?.rows[0] as HotRow | undefined, cold: row };
}

/**
 * Writes what changed, and commits.
 *
 * @throws InDoubt; anything else has certainly not happened.
 */
export async function writeScope(
  database: Database,
  session: Session,
  scope: string,
  found: FoundScope,
  written: KnownScope,
): Promise<void> {
  if (session.failure !== null) throw session.failure;
  const { client } = session;
  const { hot, cold, ...others } = written.state;
  const { revision, writtenBy } = written.hot;
  const statements: Promise<QueryResult>[] = [];
  if (WAITS_FOR_NO_DISK.has(found.synchronousCommit)) {
    statements.push(client.query('set local synchronous_commit = on'));
  }
  if (found.damage !== null) statements.push(client.query(SET_ASIDE, [scope, found.damage]));
  const withCold = written.cold === written.hot;
  const writeHot = withCold ? UPDATE_HOT_OF_BOTH : UPDATE_HOT;
  statements.push(
    client.query(found.exists ? writeHot : INSERT_HOT, [
      scope,
      revision,
      writtenBy,
      found.now,
      found.aheadMs,
      SCHEMA.major,
      JSON.stringify(hot),
    ]),
  );
  if (withCold) {
    const values = [scope, revision, writtenBy, JSON.stringify(cold), JSON.stringify(others)];
    statements.push(client.query(WRITE_COLD, values));
  }
  await confirm(database, Promise.allSettled([...statements, client.query('commit')]));
}

async function confirm(
  database: Database,
  sent: Promise<PromiseSettledResult<QueryResult>[]>,
): Promise<void> {
  const results = await database.answer(ANSWER_MS, sent).catch((error: unknown) => {
    throw new InDoubt(error);
  });
  const committed = results.pop();
  for (const result of results) {
    if (result.status === 'fulfilled') continue;
    // One that the server refused can't be part of a commit; of one it never answered, who knows.
    throw sqlState(result.reason) === '' ? new InDoubt(result.reason) : result.reason;
  }
  if (committed?.status === 'rejected') {
    const { reason } = committed;
    throw isCertainFailure(reason) ? reason : new InDoubt(reason);
  }
  // An aborted transaction answers COMMIT with ROLLBACK.
  if (committed?.value.command !== 'COMMIT') throw new Error('the transaction was rolled back');
}

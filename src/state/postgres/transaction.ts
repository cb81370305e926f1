import type { QueryResult } from 'pg';
import { SCHEMA, type ScopeState } from '../scope-state.js';
import type { Database, Session } from './database.js';
import { isCertainRollback, NoAnswer, sqlState, unknownOutcome } from './faults.js';
import {
  type ColdRow,
  type FoundScope,
  type HotRow,
  type KnownScope,
  NEVER,
  type StoreRow,
  StoreReplaced,
} from './scope-row.js';

/*
 * One decision, in two round trips:
 *
 *   begin · settings · select … for no key update · clock, store and cold part   ──►
 *                                                          (decide, synchronously)
 *   update · commit                                                              ──►
 *
 * The statements of a round trip travel together and are answered in order. The clock is read by a
 * statement of its own, after the row is ours: within the locking one it might be from before the
 * wait. The cold part, too: READ COMMITTED gives each statement a snapshot of its own, and the
 * locking one's may be from before the last commit.
 *
 * The longest anybody is delayed by a replica that stops with the row in its hands is the idle
 * timeout: then the server ends its session. The others wait for the row longer than that, or they
 * would all fail because of it; and less than the two seconds that a request waits.
 */
const IDLE_MS = 750;
const LOCK_MS = 1_500;
const STATEMENT_MS = 1_800;
/** Of one round trip: longer than the server may take by the timeouts above. */
const ANSWER_MS = 2_500;

/** One string for the parser: a fifth of the whole is saved. */
const BEGIN = `begin isolation level read committed;
  set local lock_timeout = ${LOCK_MS};
  set local statement_timeout = ${STATEMENT_MS};
  set local idle_in_transaction_session_timeout = ${IDLE_MS}`;

/** `off` and `local` would call durable what is not; anything stronger than `on` is kept. */
const WAITS_FOR_NO_DISK = new Set(['off', 'local']);

const HOT = `select revision, written_by, recorded_at, clock_ahead_ms, schema_major,
  case when revision = $2 and written_by = $3 then null else hot::text end as hot
  from tidegate_scopes where name = $1`;

const STORE_AND_COLD = `select
  store.id, store.lost::text as lost, current_setting('synchronous_commit') as synchronous_commit,
  (extract(epoch from clock_timestamp()) * 1000)::float8 as now,
  part.revision as cold_revision, part.written_by as cold_written_by,
  case when part.revision = $2 and part.written_by = $3 then null else part.cold::text end as cold,
  part.others::text as others
  from tidegate_store store left join tidegate_scopes_cold part on part.name = $1`;

const INSERT_HOT = `insert into tidegate_scopes
  (name, revision, written_by, recorded_at, clock_ahead_ms, schema_major, hot)
  values ($1, $2, $3, $4, $5, $6, $7)`;

const UPDATE_HOT = `update tidegate_scopes set
  revision = $2, written_by = $3, recorded_at = $4, clock_ahead_ms = $5, schema_major = $6, hot = $7
  where name = $1`;

const WRITE_COLD = `insert into tidegate_scopes_cold (name, revision, written_by, cold, others)
  values ($1, $2, $3, $4, $5)
  on conflict (name) do update set revision = excluded.revision,
    written_by = excluded.written_by, cold = excluded.cold, others = excluded.others`;

const SET_ASIDE = `insert into tidegate_set_aside (name, why, hot, cold)
  select $1, $2, (select hot from tidegate_scopes where name = $1),
    (select cold from tidegate_scopes_cold where name = $1)`;

export interface FoundRows {
  readonly store: StoreRow;
  readonly hot: HotRow | undefined;
  readonly cold: ColdRow;
}

/** Begins a transaction, and waits for the scope's row to be ours. */
export async function lockScope(
  database: Database,
  { client }: Session,
  scope: string,
  known: KnownScope | undefined,
): Promise<FoundRows> {
  const [, hot, rest] = await database.answer(
    ANSWER_MS,
    Promise.all([
      client.query(BEGIN),
      client.query<HotRow>(`${HOT} for no key update`, hotParameters(scope, known)),
      client.query<StoreRow & ColdRow>(STORE_AND_COLD, coldParameters(scope, known)),
    ]),
  );
  return rowsOf(hot, rest);
}

/** Reads without waiting for anybody. */
export async function peekScope(
  database: Database,
  { client }: Session,
  scope: string,
  known: KnownScope | undefined,
): Promise<FoundRows> {
  const [, hot, rest] = await database.answer(
    ANSWER_MS,
    Promise.all([
      // Both parts as of one moment.
      client.query('begin isolation level repeatable read, read only'),
      client.query<HotRow>(HOT, hotParameters(scope, known)),
      client.query<StoreRow & ColdRow>(STORE_AND_COLD, coldParameters(scope, known)),
      client.query('commit'),
    ]),
  );
  return rowsOf(hot, rest);
}

/** Ends a transaction that wrote nothing. */
export async function leaveScope(database: Database, { client }: Session): Promise<void> {
  await database.answer(ANSWER_MS, client.query('rollback'));
}

function hotParameters(scope: string, known: KnownScope | undefined): unknown[] {
  const { revision, writtenBy } = known?.hot ?? NEVER;
  return [scope, revision, writtenBy];
}

function coldParameters(scope: string, known: KnownScope | undefined): unknown[] {
  const { revision, writtenBy } = known?.cold ?? NEVER;
  return [scope, revision, writtenBy];
}

function rowsOf(hot: QueryResult<HotRow>, rest: QueryResult<StoreRow & ColdRow>): FoundRows {
  const row = rest.rows[0];
  if (row === undefined) throw new StoreReplaced();
  return { store: row, hot: hot.rows[0], cold: row };
}

/**
 * Writes what changed, and commits.
 *
 * @throws TidegateError STATE_UNKNOWN; anything else has certainly not happened.
 */
export async function writeScope(
  database: Database,
  session: Session,
  scope: string,
  found: FoundScope,
  state: ScopeState,
  writer: string,
): Promise<KnownScope> {
  if (session.failure !== null) throw session.failure;
  const { client } = session;
  const hot = { revision: found.hot.revision + 1, writtenBy: writer };
  const statements: Promise<QueryResult>[] = [];
  if (WAITS_FOR_NO_DISK.has(found.synchronousCommit)) {
    statements.push(client.query('set local synchronous_commit = on'));
  }
  if (found.damage !== null) statements.push(client.query(SET_ASIDE, [scope, found.damage]));
  statements.push(
    client.query(found.exists ? UPDATE_HOT : INSERT_HOT, [
      scope,
      hot.revision,
      writer,
      found.now,
      found.aheadMs,
      SCHEMA.major,
      JSON.stringify(state.hot),
    ]),
  );
  const coldChanged = !found.exists || found.damage !== null || restDiffers(found.state, state);
  if (coldChanged) {
    const { hot: _, cold, ...others } = state;
    statements.push(
      client.query(WRITE_COLD, [
        scope,
        hot.revision,
        writer,
        JSON.stringify(cold),
        JSON.stringify(others),
      ]),
    );
  }
  await commit(database, client, statements);
  return { hot, cold: coldChanged ? hot : found.cold, state };
}

function restDiffers(before: ScopeState, after: ScopeState): boolean {
  const names = Object.keys({ ...before, ...after }) as (keyof ScopeState)[];
  return names.some((name) => name !== 'hot' && before[name] !== after[name]);
}

async function commit(
  database: Database,
  client: Session['client'],
  statements: readonly Promise<QueryResult>[],
): Promise<void> {
  const sent = Promise.allSettled([...statements, client.query('commit')]);
  const results = await database.answer(ANSWER_MS, sent).catch((error: unknown) => {
    throw error instanceof NoAnswer ? new Unconfirmed(error) : error;
  });
  const committed = results.pop();
  for (const result of results) {
    if (result.status === 'fulfilled') continue;
    // One that the server refused can't be part of a commit; of one it never answered, who knows.
    throw sqlState(result.reason) === '' ? unknownOutcome(result.reason) : result.reason;
  }
  if (committed?.status === 'rejected') {
    const { reason } = committed;
    throw isCertainRollback(reason) ? reason : unknownOutcome(reason);
  }
  // An aborted transaction answers COMMIT with ROLLBACK.
  if (committed?.value.command !== 'COMMIT') throw new Error('the transaction was rolled back');
}

/** COMMIT was sent, and nothing came back: the connection must go, and the outcome is unknown. */
export class Unconfirmed extends NoAnswer {
  constructor(readonly reason: NoAnswer) {
    super(ANSWER_MS);
  }
}

import { type Instant, SCHEMA } from '../scope-state.js';
import { ANSWER_MS, type Database, type Session } from './database.js';
import { InDoubt, isCertainFailure } from './faults.js';
import type { KnownScope, Version } from './scope-row.js';

/*
 * One decision, in one round trip, where nobody else seems to write:
 *
 *                        (decide, on the state as it was left)
 *   update … if the row is still that version, free, and the clock near; implicit commit   ──►
 *
 * What is decided this way holds only if the row proves to be what was assumed, in the very
 * statement that writes; else nothing has happened, and the decision is made anew under the lock.
 * A row that another session holds is passed over at once: there is no wait here, and so no
 * timeout is needed for it.
 */

/**
 * How far the instant of a decision may lie behind the database's clock when it is written: as far as
 * one that is made under the lock, which is lost after so long.
 */
const MOST_BEHIND_MS = 750;

const CLOCK = `date_part('epoch', clock_timestamp()) * 1000`;
const AS_ASSUMED = `name = $1 and revision = $2 and written_by = $3
  and ${CLOCK} between $4::bigint and $4::bigint + ${MOST_BEHIND_MS}
  and exists (select from tidegate_store where schema_major <= ${SCHEMA.major})`;

/** `off` and `local` would call durable what is not; said before the commit, it holds for it. */
const WAIT_FOR_DISK = `case when current_setting('synchronous_commit') in ('off', 'local')
  then set_config('synchronous_commit', 'on', true) end`;

const CHECK = `select ${CLOCK} as now from tidegate_scopes where ${AS_ASSUMED}`;

const update = (also: string) => `update tidegate_scopes set revision = $5, written_by = $6,
  recorded_at = $4, clock_ahead_ms = 0, schema_major = ${SCHEMA.major}, ${also} hot = $7
  where ctid = (select ctid from tidegate_scopes where ${AS_ASSUMED} for no key update skip locked)
  returning ${CLOCK} as now, ${WAIT_FOR_DISK}`;

const WRITE_HOT = update('');

const WRITE_BOTH = `with mine as (${update('cold_revision = $5,')}), part as (
    insert into tidegate_scopes_cold (name, revision, written_by, cold, others)
    select $1, $5, $6, $8::json, $9::json from mine
    on conflict (name) do update set revision = excluded.revision,
      written_by = excluded.written_by, cold = excluded.cold, others = excluded.others)
  select now from mine`;

const STATEMENTS = { check: CHECK, hot: WRITE_HOT, both: WRITE_BOTH };

/** What a decision without the lock rests on. */
export interface Assumption {
  readonly scope: string;
  readonly hot: Version;
  readonly now: Instant;
}

/** The database's clock, if everything is as assumed; else null. */
export async function checkAssumption(
  database: Database,
  session: Session,
  { scope, hot, now }: Assumption,
): Promise<number | null> {
  return ask(database, session, 'check', [scope, hot.revision, hot.writtenBy, now]);
}

/**
 * Writes and commits, if everything is as assumed, and returns the database's clock; else null, and
 * nothing has happened.
 *
 * @throws InDoubt; anything else has certainly not happened.
 */
export async function writeIfAssumed(
  database: Database,
  session: Session,
  { scope, hot, now }: Assumption,
  written: KnownScope,
): Promise<number | null> {
  const { hot: hotPart, cold, ...others } = written.state;
  const { revision, writtenBy } = written.hot;
  const values = [scope, hot.revision, hot.writtenBy, now, revision, writtenBy];
  values.push(JSON.stringify(hotPart));
  const withCold = written.cold === written.hot;
  if (withCold) values.push(JSON.stringify(cold), JSON.stringify(others));
  if (session.failure !== null) throw session.failure;
  try {
    return await ask(database, session, withCold ? 'both' : 'hot', values);
  } catch (error) {
    throw isCertainFailure(error) ? error : new InDoubt(error);
  }
}

async function ask(
  database: Database,
  session: Session,
  name: keyof typeof STATEMENTS,
  values: unknown[],
): Promise<number | null> {
  const work = database.named<{ now: number }>(session, name, STATEMENTS[name], values);
  return (await database.answer(ANSWER_MS, work)).rows[0]?.now ?? null;
}

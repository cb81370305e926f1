import { checkMajor } from '../parse-state.js';
import { SCHEMA, type StateLoss } from '../scope-state.js';
import type { LossPolicy } from '../state-repository.js';
import type { Database, Session } from './database.js';
import { type ColdRow, type HotRow, type KnownScope, readScope } from './scope-row.js';

/** A store as it was found at the start, or when it had become another. */
export interface EnteredStore {
  readonly id: string;
  readonly scopes: ReadonlyMap<string, KnownScope>;
}

interface StoreContent {
  readonly id: string;
  readonly schema_major: number;
  readonly lost: StateLoss | null;
}

/** For the whole of it; there are few scopes. */
const ENTER_MS = 5_000;

/**
 * Finds the store in the database, or makes one.
 *
 * @param previousId The store that this process knew: if another is found, that one's memory is
 *   lost, whoever made the new one. Then every scope is marked, once for all replicas.
 * @throws TidegateError STATE_NEWER; STATE_CORRUPT under the policy `refuse`.
 */
export async function enterStore(
  database: Database,
  session: Session,
  previousId: string,
  policy: LossPolicy,
  newId: string,
  writer: string,
): Promise<EnteredStore> {
  return database.answer(ENTER_MS, enter(session, previousId, policy, newId, writer));
}

async function enter(
  { client }: Session,
  previousId: string,
  policy: LossPolicy,
  newId: string,
  writer: string,
): Promise<EnteredStore> {
  const now = await readClock(client);
  const replaced = previousId !== '';
  let store = await readStore(client);
  if (store === undefined) {
    const reason = replaced ? 'rolled-back' : policy.onEmpty === 'cautious' ? 'empty' : null;
    const lost = reason === null ? null : { reason, at: Math.floor(now), recordedAt: null };
    await client.query(
      `insert into tidegate_store (id, schema_major, lost) values ($1, $2, $3)
       on conflict do nothing`,
      [newId, SCHEMA.major, lost === null ? null : JSON.stringify(lost)],
    );
    store = (await readStore(client)) as StoreContent;
  }
  checkMajor(store.schema_major);
  if (store.schema_major < SCHEMA.major) {
    // From here on older versions keep out.
    await client.query('update tidegate_store set schema_major = $1', [SCHEMA.major]);
  }
  if (replaced && store.id !== previousId && store.lost === null) {
    await markAll(client, { reason: 'rolled-back', at: Math.floor(now), recordedAt: null }, writer);
  }
  return { id: store.id, scopes: await readScopes(client, store, now, policy) };
}

export async function readClock(client: Session['client']): Promise<number> {
  const { rows } = await client.query<{ now: number }>(
    'select (extract(epoch from clock_timestamp()) * 1000)::float8 as now',
  );
  return rows[0]?.now ?? 0;
}

export async function readStore(client: Session['client']): Promise<StoreContent | undefined> {
  const sql = 'select id, schema_major, lost from tidegate_store';
  return (await client.query<StoreContent>(sql)).rows[0];
}

/** What is readable of the scopes; the rest is looked at when it is wanted. */
async function readScopes(
  client: Session['client'],
  { id }: StoreContent,
  now: number,
  policy: LossPolicy,
): Promise<ReadonlyMap<string, KnownScope>> {
  const scopes = new Map<string, KnownScope>();
  for (const row of await selectScopes(client)) {
    const found = readScope(
      { id, lost: null, now, synchronous_commit: '' },
      row,
      row,
      undefined,
      policy,
      0,
    );
    if (found.damage !== null) continue;
    scopes.set(row.name, { hot: found.hot, cold: found.cold, state: found.state });
  }
  return scopes;
}

/** Both parts of every scope. */
export async function selectScopes(
  client: Session['client'],
): Promise<(HotRow & ColdRow & { name: string })[]> {
  const { rows } = await client.query<HotRow & ColdRow & { name: string }>(
    `select scope.name, scope.revision, scope.written_by, recorded_at, clock_ahead_ms, schema_major,
       hot::text as hot, part.revision as cold_revision, part.written_by as cold_written_by,
       part.cold::text as cold, part.others::text as others
     from tidegate_scopes scope left join tidegate_scopes_cold part on part.name = scope.name`,
  );
  return rows;
}

/** Marks every scope there is, and every one to come; whichever replica is the first. */
async function markAll(client: Session['client'], lost: StateLoss, writer: string): Promise<void> {
  const text = JSON.stringify(lost);
  await client.query('begin isolation level read committed');
  const { rowCount } = await client.query(
    'update tidegate_store set lost = $1 where lost is null',
    [text],
  );
  if (rowCount === 1) {
    await client.query(
      `update tidegate_scopes set revision = revision + 1, written_by = $2,
         hot = jsonb_set(hot::jsonb, '{lost}', $1::jsonb)::json`,
      [text, writer],
    );
  }
  await client.query('commit');
}

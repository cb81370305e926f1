import { TidegateError } from '../../platform/tidegate-error.js';
import { isRecord } from '../check.js';
import { checkMajor } from '../parse-state.js';
import { type Instant, SCHEMA, type StateLoss } from '../scope-state.js';
import type { LossPolicy } from '../state-repository.js';
import type { Database, Session } from './database.js';
import {
  type ColdRow,
  type FoundRows,
  type HotRow,
  type KnownScope,
  readScope,
} from './scope-row.js';
import { BEGIN } from './transaction.js';

/** A store as it was found at the start, or when it had become another. */
export interface EnteredStore {
  readonly id: string;
  readonly scopes: ReadonlyMap<string, KnownScope>;
}

export interface Entry {
  /** The store that this process knew, or empty. */
  readonly previousId: string;
  readonly policy: LossPolicy;
  /** For a store that is made, or has become another; of this attempt only. */
  readonly newId: string;
  /** Of this run of this process. */
  readonly writer: string;
}

interface StoreContent {
  readonly id: string;
  readonly schema_major: number;
  readonly lost: StateLoss | null;
}

interface StoreWithPast extends StoreContent {
  /** Ids whose loss is accounted for: a process that knew one of them finds everything marked. */
  readonly replaces: readonly string[];
}

type Client = Session['client'];

/** For the whole of it; there are few scopes. */
const ENTER_MS = 5_000;
/** More than there are replicas that could still know one. */
const MOST_REPLACED = 64;

/**
 * Finds the store in the database, or makes one. If it is another than this process knew, that one's
 * memory is lost, whoever made the new one; and if scopes are there without a store's row, nobody knows
 * which memory they are. Then every scope is marked, once for all replicas.
 *
 * @throws TidegateError STATE_NEWER; STATE_CORRUPT under the policy `refuse`.
 */
export async function enterStore(
  database: Database,
  session: Session,
  entry: Entry,
): Promise<EnteredStore> {
  return database.answer(ENTER_MS, enter(session, entry));
}

async function enter({ client }: Session, entry: Entry): Promise<EnteredStore> {
  const now = await readClock(client);
  const found = await readStoreWithPast(client);
  const store = isAccountedFor(found, entry) ? found : await takeOver(client, entry, now);
  checkMajor(store.schema_major);
  if (store.schema_major < SCHEMA.major) {
    // From here on older versions keep out.
    await client.query('update tidegate_store set schema_major = $1', [SCHEMA.major]);
  }
  return { id: store.id, scopes: await readScopes(client, store, now, entry.policy) };
}

function isAccountedFor(
  store: StoreWithPast | undefined,
  { previousId }: Entry,
): store is StoreWithPast {
  if (store === undefined) return false;
  return previousId === '' || store.id === previousId || store.replaces.includes(previousId);
}

/**
 * Makes the store's row, or makes a store that is another than was known ours; and marks every scope there
 * is, and every one to come. In one transaction, so that the row is never there without the marks; and
 * under its lock, so that whoever comes second finds it done. A store that was exchanged gets a new id, or
 * an exchange back and forth would look as if nothing had happened since the first.
 */
async function takeOver(client: Client, entry: Entry, now: Instant): Promise<StoreWithPast> {
  const { previousId, policy, newId, writer } = entry;
  await client.query(BEGIN);
  const insert = `insert into tidegate_store (id, schema_major) values ($1, $2)
    on conflict do nothing`;
  const isMade = (await client.query(insert, [newId, SCHEMA.major])).rowCount === 1;
  let store = (await readStoreWithPast(client, 'for update')) as StoreWithPast;
  checkMajor(store.schema_major);
  if (isMade || !isAccountedFor(store, entry)) {
    const scopes = await lockScopes(client);
    if (isMade && scopes.length > 0 && policy.onCorrupt === 'refuse') throw ownerless();
    const lost = lossOf(entry, scopes.length, now);
    const before = isMade ? [previousId] : [previousId, store.id, ...store.replaces];
    const replaces = before.filter((id) => id !== '').slice(0, MOST_REPLACED);
    store = { ...store, id: newId, lost, replaces };
    const update = 'update tidegate_store set id = $1, lost = $2, replaces = $3';
    await client.query(update, [newId, lost === null ? null : JSON.stringify(lost), replaces]);
    if (lost !== null) await markAll(client, scopes, lost, `${writer}.${newId}`);
  }
  await client.query('commit');
  return store;
}

function lossOf({ previousId, policy }: Entry, scopes: number, now: Instant): StateLoss | null {
  const lost = (reason: StateLoss['reason']) => ({ reason, at: Math.floor(now), recordedAt: null });
  if (previousId !== '') return lost('rolled-back');
  if (scopes > 0) return lost('missing');
  return policy.onEmpty === 'cautious' ? lost('empty') : null;
}

function ownerless(): TidegateError {
  return new TidegateError(
    'STATE_CORRUPT',
    'the database has scopes, but no row in tidegate_store that says which store they are of',
    { hint: 'restore that row, or set TIDEGATE_ON_CORRUPT_STATE=cautious to go on' },
  );
}

export async function readClock(client: Client): Promise<number> {
  const { rows } = await client.query<{ now: number }>(
    'select (extract(epoch from clock_timestamp()) * 1000)::float8 as now',
  );
  return rows[0]?.now ?? 0;
}

/** As far as every version has it. */
export async function readStore(client: Client): Promise<StoreContent | undefined> {
  const sql = 'select id, schema_major, lost from tidegate_store';
  return (await client.query<StoreContent>(sql)).rows[0];
}

async function readStoreWithPast(
  client: Client,
  lock: 'for update' | '' = '',
): Promise<StoreWithPast | undefined> {
  const sql = `select id, schema_major, lost, replaces from tidegate_store ${lock}`;
  return (await client.query<StoreWithPast>(sql)).rows[0];
}

/** What is readable of the scopes; the rest is looked at when it is wanted. */
async function readScopes(
  client: Client,
  store: StoreContent,
  now: number,
  policy: LossPolicy,
): Promise<ReadonlyMap<string, KnownScope>> {
  const scopes = new Map<string, KnownScope>();
  for (const [name, rows] of await selectScopes(client, store, now)) {
    const { hot, cold, state, damage } = readScope(rows, policy);
    if (damage === null) scopes.set(name, { hot, cold, state });
  }
  return scopes;
}

/** Both parts of every scope; `leastCold`: the column for it, or what stands for that. */
export async function selectScopes(
  client: Client,
  store: Pick<StoreContent, 'id' | 'schema_major'>,
  now: number,
  leastCold: 'cold_revision' | '0' = 'cold_revision',
): Promise<(readonly [name: string, rows: FoundRows & { readonly hot: HotRow }])[]> {
  const { rows } = await client.query<HotRow & ColdRow & { name: string }>(
    `select scope.name, scope.revision, scope.written_by, recorded_at, clock_ahead_ms, schema_major,
       ${leastCold} as least_cold, hot::text as hot,
       part.revision as cold_revision, part.written_by as cold_written_by,
       part.cold::text as cold, part.others::text as others
     from tidegate_scopes scope left join tidegate_scopes_cold part on part.name = scope.name`,
  );
  // Nothing is written, nor is one missing: what a decision asks of the store beside is not looked at.
  const asked = { ...store, lost: null, now, synchronous_commit: '' };
  return rows.map((row) => [row.name, { store: asked, hot: row, cold: row }]);
}

interface MarkedRow {
  readonly name: string;
  readonly hot: string;
}

async function lockScopes(client: Client): Promise<readonly MarkedRow[]> {
  const sql = 'select name, hot::text as hot from tidegate_scopes order by name for no key update';
  return (await client.query<MarkedRow>(sql)).rows;
}

/** In their JSON, which is changed here: `jsonb` can't hold each text that `json` can. */
async function markAll(
  client: Client,
  scopes: readonly MarkedRow[],
  lost: StateLoss,
  writtenBy: string,
): Promise<void> {
  await client.query(
    `update tidegate_scopes scope set revision = revision + 1, written_by = $1,
       hot = marked.hot::json
     from unnest($2::text[], $3::text[]) as marked(name, hot) where scope.name = marked.name`,
    [writtenBy, scopes.map(({ name }) => name), scopes.map(({ hot }) => withLoss(hot, lost))],
  );
}

/** What is no object is left for whoever reads it to find damaged. */
function withLoss(hot: string, lost: StateLoss): string {
  const document: unknown = JSON.parse(hot);
  return isRecord(document) ? JSON.stringify({ ...document, lost }) : hot;
}

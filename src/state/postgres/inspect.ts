import { TidegateError } from '../../platform/tidegate-error.js';
import { SYSTEM_TIMERS } from '../../platform/timers.js';
import type { FoundState } from '../held-state.js';
import { checkMajor } from '../parse-state.js';
import type { ScopeState } from '../scope-state.js';
import { TRUSTING } from '../state-repository.js';
import { Database, type Session } from './database.js';
import { readClock, readStore, selectScopes } from './entry.js';
import { unavailable } from './faults.js';
import { ADD_COLD_REVISION, MIGRATIONS } from './migrations.js';
import { readScope } from './scope-row.js';

/** For the whole of it. */
const INSPECT_MS = 5_000;

/**
 * What the tables say, changing nothing and waiting for nobody. Null: they are not there.
 *
 * @throws TidegateError STATE_NEWER, STATE_UNAVAILABLE.
 */
export async function inspectTables(url: string): Promise<FoundState | null> {
  const timers = SYSTEM_TIMERS;
  const database = new Database({ url, applicationName: 'tidegate state', timers });
  try {
    const pending = await database.pendingMigrations();
    if (pending.length === MIGRATIONS.length) return null;
    // What later ones add is not looked at, or only where it is.
    const leastCold = pending.includes(ADD_COLD_REVISION) ? '0' : 'cold_revision';
    return await database.session((session) =>
      database.answer(INSPECT_MS, inspect(session, leastCold)),
    );
  } catch (error) {
    throw error instanceof TidegateError ? error : unavailable(error, url);
  } finally {
    await database.close();
  }
}

async function inspect(
  { client }: Session,
  leastCold: Parameters<typeof selectScopes>[3],
): Promise<FoundState | null> {
  await client.query('begin isolation level repeatable read, read only');
  const now = await readClock(client);
  const store = await readStore(client);
  const found = store === undefined ? [] : await selectScopes(client, store, now, leastCold);
  const alone = await client.query<{ name: string }>(
    `select name from tidegate_scopes_cold except select name from tidegate_scopes order by name`,
  );
  await client.query('commit');
  if (store === undefined) return null;
  checkMajor(store.schema_major);
  const scopes = new Map<string, ScopeState>();
  let [revision, recordedAt] = [0, 0];
  const damage = alone.rows.map(({ name }) => `scope ${name}: hot: no row`);
  for (const [name, rows] of found) {
    const scope = readScope(rows, TRUSTING);
    scopes.set(name, scope.state);
    revision += scope.hot.revision;
    recordedAt = Math.max(recordedAt, Number(rows.hot.recorded_at));
    if (scope.damage !== null) damage.push(`scope ${name}: ${scope.damage}`);
  }
  const { id, lost } = store;
  return {
    stored: { id, revision, savedAt: recordedAt, lost, scopes },
    loss: damage.length > 0 ? 'restored' : null,
    recordedAt: recordedAt === 0 ? null : recordedAt,
    damage,
  };
}

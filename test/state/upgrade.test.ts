import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, describe, expect, it } from 'vitest';
import { inspectTables } from '../../src/state/postgres/inspect.js';
import type { ScopeState } from '../../src/state/scope-state.js';
import type { StateRepository } from '../../src/state/state-repository.js';
import { limit, MINUTE, SCOPE, SECOND, Town } from '../governor/support.js';
import { FileStore } from '../support/file-store.js';
import { ManualTime } from '../support/manual-time.js';
import { PostgresStore } from '../support/postgres-store.js';
import { setSequence } from '../support/scope-states.js';
import { SqliteStore } from '../support/sqlite-store.js';

/**
 * What older versions wrote, opened by this one. The fixtures were written by the code of then, with
 * something in every field there was, and are not to be touched: file-1.0 by the first version there
 * was, killed with its last commit only in the journal; sqlite-1.0 and postgres-1.0 by the first with
 * these stores; file-1.1 by the last one of minor 1.
 */
const AT = 1_763_856_000_123;

function fixture<Content>(name: string): Content {
  const path = new URL(`fixtures/${name}.json`, import.meta.url);
  return JSON.parse(readFileSync(path, 'utf8')) as Content;
}

/** Files by their names, line by line. */
type OldFiles = Readonly<Record<string, readonly string[]>>;

interface OldDatabase {
  readonly schema: readonly string[];
  readonly rows: Readonly<Record<string, readonly Readonly<Record<string, unknown>>[]>>;
}

interface OldSqlite extends OldDatabase {
  readonly userVersion: number;
  readonly applicationId: number;
  readonly pageSize: number;
}

interface OldStore {
  open(): Promise<StateRepository>;
  dispose(): Promise<void>;
}

function oldFileStore(name: string): FileStore {
  const store = new FileStore(new ManualTime());
  mkdirSync(store.directory);
  for (const [file, lines] of Object.entries(fixture<OldFiles>(name))) {
    writeFileSync(join(store.directory, file), lines.join('\n'));
  }
  return store;
}

function oldSqliteStore(): SqliteStore {
  const { schema, rows, ...header } = fixture<OldSqlite>('sqlite-1.0');
  const store = new SqliteStore(new ManualTime());
  mkdirSync(dirname(store.path));
  const database = new Database(store.path);
  database.pragma(`page_size = ${header.pageSize}`);
  database.pragma('journal_mode = WAL');
  for (const statement of schema) database.exec(statement);
  database.pragma(`user_version = ${header.userVersion}`);
  database.pragma(`application_id = ${header.applicationId}`);
  for (const [table, entries] of Object.entries(rows)) {
    for (const row of entries) {
      const names = Object.keys(row);
      const values = names.map((column) => `@${column}`);
      database.prepare(`insert into ${table} (${names.join()}) values (${values.join()})`).run(row);
    }
  }
  database.close();
  return store;
}

async function oldPostgresStore(): Promise<PostgresStore> {
  const { schema, rows } = fixture<OldDatabase>('postgres-1.0');
  const store = await PostgresStore.create();
  for (const statement of schema) await store.sql(statement);
  for (const [table, entries] of Object.entries(rows)) {
    const all = `insert into ${table} select * from json_populate_recordset(null::${table}, $1)`;
    await store.sql(all, [JSON.stringify(entries)]);
  }
  await store.sql(`select setval('tidegate_migrations_id_seq', 1)`);
  return store;
}

const STORES: Readonly<Record<string, () => OldStore | Promise<OldStore>>> = {
  'file-1.0': () => oldFileStore('file-1.0'),
  'file-1.1': () => oldFileStore('file-1.1'),
  'sqlite-1.0': oldSqliteStore,
  'postgres-1.0': oldPostgresStore,
};

/** What those documents say, and what of the later fields this version takes them to mean. */
function expected(name: string): unknown {
  const later = name.endsWith('1.1');
  const organizations = name === 'file-1.0' ? {} : { '0123456789abcdef': 'org-1' };
  return {
    hot: {
      limits: {
        tokens: {
          window: {
            number: 3,
            startedAt: AT,
            endsAt: AT + 18_000_000,
            anchored: true,
            stated: true,
            lengthMs: null,
            observed: false,
          },
          used: 12_345.5,
          unsettled: { 'host-a': 12, __proto__x: 1 },
          orphaned: 7,
          budget: {
            current: 1e6,
            learned: 990_000,
            reference: 1e6,
            found: null,
            source: 'learned',
          },
          control: {
            nudgedAt: AT,
            inTheWay: true,
            denied: { at: AT, amount: 5 },
            probedAt: AT,
            refusedAt: AT,
            fullWindows: 2,
            full: null,
            agreeing: later ? 1 : 0,
            accepted: later ? 980_000 : 0,
          },
          // All that is orphaned may be in any cell: it frees late rather than early.
          cells: later ? [{ at: AT, amount: 12_345.5, orphaned: 1e12 }] : [],
          bucket: null,
          others: 0,
          stated: null,
        },
      },
      backoff: {
        episode: 2,
        cooldown: {
          since: AT,
          until: AT + 30_000,
          kind: 'quota',
          rung: 1,
          limit: 'tokens',
          blamed: null,
          probedAt: null,
        },
        probes: [{ sequence: 9, instance: 'host-a', takenAt: AT, expiresAt: AT + 10_000 }],
        transientAt: AT,
        overload: { number: 1, rung: 2, since: AT, until: AT + 2_000, inAnswer: false },
      },
      pools: {},
      pendingSample: {
        at: AT,
        episode: 2,
        kind: 'quota',
        limit: 'tokens',
        window: 3,
        sequence: 9,
        outstanding: 4,
        tokens: 11_000,
        from: null,
        weight: 1,
        orphaned: 7,
        confirmed: true,
        reason: null,
      },
      cautious: null,
      lost: null,
      instances: {
        'host-a': {
          startedAt: AT,
          seenAt: AT,
          stoppedAt: null,
          inFlight: 4,
          guessed: 0,
          coldTokens: 0,
          turn: null,
        },
      },
      sequence: 9,
      firstAdmittedAt: AT,
      counters: {
        admitted: 9,
        refused: 1,
        upstreamRequests: 5,
        upstream429: 1,
        upstreamOverloaded: 1,
      },
      ramp: null,
      admittedAt: null,
      setBack: null,
    },
    cold: {
      calibration: {
        accepted: 1,
        discarded: 1,
        samples: [
          { at: AT, limit: 'tokens', tokens: 99, accepted: true, reason: null, episode: 1 },
          { at: AT, limit: null, tokens: 0, accepted: false, reason: 'zero tokens', episode: 2 },
        ],
        belowFloorInARow: 1,
      },
      estimates: {
        'model/ü': {
          count: 3,
          usedAt: 0,
          promptTokensPerByte: 0.25,
          outputTokens: 400,
          cachedShare: 0.5,
          cachedShareCount: 20,
          lateCachedShare: 0,
          lateCachedShareCount: 0,
          staleCachedShare: 0,
          staleCachedShareCount: 0,
          costP99: 9_000,
          excessP99: 0,
        },
      },
      starts: { 'host-a': [{ at: AT, unclean: true }] },
      organizations,
      events: [],
      guards: {},
    },
  };
}

const opened: OldStore[] = [];
afterEach(async () => {
  for (const store of opened.splice(0)) await store.dispose();
});

describe.each(Object.keys(STORES))('the state of %s', (name) => {
  it('is read as it was, with defaults for what is new, and written on without loss', async () => {
    const store = await STORES[name]!();
    opened.push(store);
    const repository = await store.open();
    expect(await repository.list()).toEqual(['anthropic']);
    const { state } = await repository.read('anthropic');
    expect(state).toEqual(expected(name));
    await repository.update('anthropic', setSequence(10));
    await repository.close();
    const again = (await (await store.open()).read('anthropic')).state;
    const { hot, cold } = expected(name) as ScopeState;
    expect(again).toEqual({ hot: { ...hot, sequence: 10 }, cold });
  });
});

it('tables of before are shown as they are, without a migration', async () => {
  const store = await oldPostgresStore();
  opened.push(store);
  const before = await store.sql('select * from tidegate_store');
  const found = await inspectTables(store.url);
  expect(found?.stored.scopes.get('anthropic')).toEqual(expected('postgres-1.0'));
  expect(await store.sql('select * from tidegate_store')).toEqual(before);
});

it('a governor goes on where the first version was killed', async () => {
  const store = oldFileStore('file-1.0');
  opened.push(store);
  const repository = await store.open();
  // The scope had another name then than in these tests.
  const { state } = await repository.read('anthropic');
  await repository.update(SCOPE, () => ({ state, outcome: null }));
  const town = await Town.open({
    limits: [limit({ budget: 1_000_000 })],
    instance: 'host-a',
    wrap: () => repository,
  });
  const { denial } = (await town.ask()) as { denial: unknown };
  expect(denial).toMatchObject({ decision: 'cooldown', until: AT + 30 * SECOND });
  const [tokens] = (await town.view()).limits;
  // What the killed run had in flight is orphaned, and counts.
  expect(tokens).toMatchObject({ used: 12_345.5, orphaned: 19, budget: { learned: 990_000 } });
  expect((await town.view()).starts).toEqual({ recent: 2, unclean: 2, crashLoop: false });
  store.time?.advance(MINUTE);
  expect(await town.ask()).toMatchObject({ kind: 'admitted' });
});

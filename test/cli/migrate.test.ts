import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { PostgresEventJournal } from '../../src/state/postgres/postgres-journal.js';
import type { StateRepository } from '../../src/state/state-repository.js';
import { FileStore } from '../support/file-store.js';
import { PostgresStore } from '../support/postgres-store.js';
import { fullScopeState, sequenceOf, withSequence } from '../support/scope-states.js';
import { HOUR } from '../governor/support.js';
import { tidegate } from './run.js';

const TABLES = [
  'CreateTables1763856000000',
  'CreateJournal1764115200000',
  'AddReplaces1764201600000',
  'AddColdRevision1764288000000',
];

let store: PostgresStore;
beforeEach(async () => {
  store = await PostgresStore.create();
});
afterEach(() => store.dispose());

it('events of a database that no instance has used says so, and of none what to do', async () => {
  const env = { TIDEGATE_ADMIN_LISTEN: '127.0.0.1:1', TIDEGATE_STATE: store.url };
  const unused = await tidegate(['events'], { env });
  expect(unused).toMatchObject({ code: 78, out: '' });
  expect(unused.err).toMatch(/^tidegate: no control plane answers at http:\/\/127\.0\.0\.1:1; /);
  expect(unused.err).toMatch(
    /\ntidegate: there is no state at postgres:.*\nWhat to do: an instance /,
  );
  const away = await tidegate(['events'], {
    env: { ...env, TIDEGATE_STATE: 'postgres://tide:hunter2@127.0.0.1:1/tide' },
  });
  expect(away).toMatchObject({ code: 75, out: '' });
  expect(away.err).toContain('\nWhat to do: start the database, or correct host and port');
  expect(away.err).not.toContain('hunter2');
});

it('makes the tables, once, and lets an instance without that right start', async () => {
  const env = { TIDEGATE_STATE: store.url };
  const planned = await tidegate(['migrate', '--dry-run'], { env });
  expect(planned).toMatchObject({
    code: 0,
    out: TABLES.map((name) => `to do: ${name}\n`).join(''),
  });
  const done = await tidegate(['migrate'], { env });
  expect(done).toMatchObject({
    code: 0,
    out: TABLES.map((name) => `done: ${name}\n`).join(''),
    err: '',
  });
  const again = await tidegate(['migrate'], { env });
  expect(again).toMatchObject({ code: 0, out: 'The tables are up to date.\n' });

  // The rights of docs/guides/postgres.md, and no more.
  const role = `${store.schema}_user`;
  await store.sql(`
    create role ${role} login;
    grant usage on schema ${store.schema} to ${role};
    grant select on tidegate_migrations to ${role};
    grant select, insert, update on tidegate_store, tidegate_scopes, tidegate_scopes_cold to ${role};
    grant insert on tidegate_set_aside to ${role};
    grant select, insert, delete on tidegate_journal to ${role}`);
  try {
    const url = new URL(store.url);
    url.username = role;
    const instance = await store.open({ url: url.href });
    expect(instance.health()).toMatchObject({ healthy: true, problem: null });
    await instance.update('a', (state) => ({
      state: { ...state, hot: { ...state.hot, sequence: 1 } },
      outcome: null,
    }));
    await instance.close();
    const journal = new PostgresEventJournal({ url: url.href, instance: 'test' });
    await journal.append([
      { stream: 'event', scope: 'a', id: 1, at: 1, requests: null, document: {} },
    ]);
    await journal.prune(2);
    await journal.close();
  } finally {
    await store.sql(`drop owned by ${role}; drop role ${role}`);
  }
});

it('leaves the tables of a later version alone, and says so; and does not take half of a backup', async () => {
  const env = { TIDEGATE_STATE: store.url };
  await tidegate(['migrate'], { env });
  await store.sql("insert into tidegate_store (id, schema_major) values ('0123456789abcdef', 2)");
  for (const args of [['migrate'], ['migrate', '--dry-run']]) {
    const { code, out, err } = await tidegate(args, { env });
    expect({ code, out }).toEqual({ code: 78, out: '' });
    expect(err).toContain('the state has schema 2, and this version reads up to 1');
  }
  await store.sql('drop table tidegate_migrations');
  await store.sql('update tidegate_store set schema_major = 1');
  const { code, out, err } = await tidegate(['migrate'], { env });
  expect({ code, out }, 'nothing is printed but the fault').toEqual({ code: 75, out: '' });
  expect(err).toContain('restore tidegate_migrations, too');
});

it('names the schema as the cause where there is none', async () => {
  const url = new URL(store.url);
  url.searchParams.set('options', '-c search_path=nowhere');
  const { code, err } = await tidegate(['migrate'], { env: { TIDEGATE_STATE: url.href } });
  expect(code).toBe(75);
  expect(err).toContain('let search_path of its user');
});

it('says what is wrong when it can’t, and never the password', async () => {
  const env = { TIDEGATE_STATE: 'postgres://tide:hunter2@127.0.0.1:1/tide' };
  const { code, err } = await tidegate(['migrate'], { env });
  expect(code).toBe(75);
  expect(err).toContain('ECONNREFUSED');
  expect(err).toContain('What to do: start the database');
  expect(err).not.toContain('hunter2');
});

it('a state is copied from a file into the database and back, and can be looked at there', async () => {
  const file = new FileStore();
  try {
    const repository = await file.open();
    const { hot, cold } = fullScopeState();
    const stopped = {
      startedAt: 1,
      seenAt: 2,
      stoppedAt: 2,
      inFlight: 0,
      guessed: 0,
      coldTokens: 0,
      turn: null,
    };
    const state = { hot: { ...hot, lost: null, instances: { 'host-a': stopped } }, cold };
    await repository.update('a', () => ({ state, outcome: null }));
    await repository.close();
    const from = `file:${file.path}`;
    expect((await tidegate(['state', 'show', store.url])).code).toBe(78);
    expect(await tidegate(['state', 'copy', from, store.url])).toMatchObject({ code: 0, err: '' });
    const shown = await tidegate(['state', 'show', store.url, '--json']);
    expect(JSON.parse(shown.out)).toMatchObject({ loss: null, revision: 1, scopes: { a: state } });
    expect(shown.out).toContain(store.schema);
    const back = new FileStore();
    const to = `file:${back.path}`;
    expect((await tidegate(['state', 'copy', store.url, to])).code).toBe(0);
    expect((await (await back.open()).read('a')).state).toEqual(state);
    await back.dispose();

    // Once the database has newer state, the file that it came from can't take its place.
    const there = await store.open();
    const newer = { ...stopped, seenAt: 1_000, stoppedAt: 1_000 };
    await there.update('a', (old) => ({
      state: { ...old, hot: { ...old.hot, instances: { 'host-a': newer } } },
      outcome: null,
    }));
    const refused = await tidegate(['state', 'copy', from, store.url]);
    expect(refused).toMatchObject({ code: 64, out: '' });
    expect(refused.err).toContain('use --force');
    expect((await there.read('a')).state.hot.instances).toEqual({ 'host-a': newer });
  } finally {
    await file.dispose();
  }
});

it.each([
  ["update tidegate_scopes set hot = '{}'", 'hot.limits: expected'],
  [
    `update tidegate_scopes set hot = jsonb_set(hot::jsonb, '{sequence}', '-1')::json`,
    'hot.sequence: expected',
  ],
  ['delete from tidegate_scopes_cold', 'cold: no row'],
  ['delete from tidegate_scopes', 'hot: no row'],
])('state check tells which scope is damaged, and how: %s', async (sql, problem) => {
  const repository = await store.open();
  await repository.update('a', (state) => ({ state: withSequence(state, 7), outcome: null }));
  const check = () => tidegate(['state', 'check', store.url]);
  expect((await check()).out).toMatch(/: whole; bounds and sums are right\n$/);
  await repository.close();
  await store.sql(sql);
  const { code, out } = await check();
  expect(code).toBe(78);
  expect(out).toContain('not as it should be\n');
  expect(out).toContain(`  scope a: ${problem}`);
});

it('takes the loss of unknown scopes along into tables that nobody has used, and no others', async () => {
  const file = new FileStore();
  try {
    // Only the lock tells that there was a store.
    mkdirSync(file.directory);
    writeFileSync(`${file.path}.lock`, '');
    const repository = await file.open();
    await repository.update('a', (state) => ({ state: withSequence(state, 1), outcome: null }));
    await repository.close();
    const copy = ['state', 'copy', `file:${file.path}`, store.url];
    expect((await tidegate(['migrate'], { env: { TIDEGATE_STATE: store.url } })).code).toBe(0);
    expect(await tidegate(copy)).toMatchObject({ code: 0, err: '' });
    const { hot } = (await (await store.open()).read('never seen')).state;
    expect(hot.lost).toMatchObject({ reason: 'empty' });
    await store.sql('update tidegate_store set lost = null');
    const refused = await tidegate([...copy, '--force']);
    expect(refused).toMatchObject({ code: 64, out: '' });
    expect(refused.err).toContain('nobody knows which');
  } finally {
    await file.dispose();
  }
});

/** An instance in scope `a`, heard of `agoMs` ago for the last time; `sequence` tells whose the state is. */
async function hear(
  repository: StateRepository,
  name: string,
  { agoMs, stopped = false, sequence }: { agoMs: number; stopped?: boolean; sequence: number },
): Promise<void> {
  await repository.update('a', (state, now) => {
    const at = now - agoMs;
    const seen = { startedAt: at, seenAt: at, stoppedAt: stopped ? at : null };
    const instances = { [name]: { ...seen, inFlight: 0, guessed: 0, coldTokens: 0, turn: null } };
    const { hot, cold } = withSequence(state, sequence);
    return { state: { hot: { ...hot, instances }, cold }, outcome: null };
  });
}

describe('copies nothing, unless forced,', () => {
  let file: FileStore;
  let there: StateRepository;
  beforeEach(async () => {
    file = new FileStore();
    const repository = await file.open();
    await hear(repository, 'host-a', { agoMs: HOUR, stopped: true, sequence: 1 });
    await repository.close();
    there = await store.open();
  });
  afterEach(() => file.dispose());

  const copy = (from: string, to: string, ...options: string[]) =>
    tidegate(['state', 'copy', from, to, ...options]);
  const inUse = 'is in use by idle\n';
  const isLost = 'is overwritten';
  const isLeft = 'is not copied';

  it('out of tables that an idle instance may be using', async () => {
    const to = `file:${file.path}`;
    await hear(there, 'idle', { agoMs: 0.5 * HOUR, sequence: 2 });
    const refused = await copy(store.url, to);
    expect(refused).toMatchObject({ code: 75, out: '' });
    expect(refused.err).toContain(inUse);
    expect(refused.err).toContain(isLeft);
    expect(refused.err).not.toContain(isLost);
    expect(refused.err).toContain('if they have died');
    const forced = await copy(store.url, to, '--force');
    expect(forced.code).toBe(0);
    expect(forced.err).toMatch(/^tidegate: forced, although postgres:.* is in use by idle\n$/);
    for (const options of [
      { agoMs: 4 * HOUR, sequence: 3 },
      { agoMs: 0, stopped: true, sequence: 4 },
    ]) {
      rmSync(file.directory, { recursive: true });
      await hear(there, 'idle', options);
      expect(await copy(store.url, to)).toMatchObject({ code: 0, err: '' });
    }
  });

  it('and makes no store, which would not be a first start any more', async () => {
    const other = new FileStore();
    const tables = await PostgresStore.create();
    try {
      await hear(there, 'idle', { agoMs: HOUR, sequence: 2 });
      for (const to of [`file:${other.path}`, `sqlite:${other.path}.db`, tables.url]) {
        expect((await copy(store.url, to)).code).toBe(75);
        expect((await tidegate(['state', 'check', to])).err).toContain('there is no state at');
      }
      expect(existsSync(other.directory)).toBe(false);
    } finally {
      await other.dispose();
      await tables.dispose();
    }
  });

  it('into them', async () => {
    const from = `file:${file.path}`;
    await hear(there, 'idle', { agoMs: 2 * HOUR, sequence: 2 });
    const refused = await copy(from, store.url);
    expect(refused).toMatchObject({ code: 75, out: '' });
    expect(refused.err).toContain(inUse);
    expect(refused.err).toContain(isLost);
    expect(refused.err).not.toContain(isLeft);
    expect(await sequenceOf(there, 'a')).toBe(2);
    const forced = await copy(from, store.url, '--force');
    expect(forced.code).toBe(0);
    expect(forced.err).toMatch(/^tidegate: forced, although postgres:.* is in use by idle\n$/);
    expect(await sequenceOf(there, 'a')).toBe(1);
    await hear(there, 'idle', { agoMs: 4 * HOUR, sequence: 3 });
    expect(await copy(from, store.url)).toMatchObject({ code: 0, err: '' });
  });

  it('and tells all that speaks against it, not the first of it', async () => {
    const other = await PostgresStore.create();
    try {
      const target = await other.open();
      await hear(there, 'dead', { agoMs: 2 * HOUR, sequence: 2 });
      await hear(target, 'idle', { agoMs: HOUR, sequence: 3 });
      // Two schemas have one name, since a query is not shown.
      const to = other.url.replace('127.0.0.1', 'localhost');
      const refused = await copy(store.url, to);
      expect(refused).toMatchObject({ code: 75, out: '' });
      const all = ['127.0.0.1.* is in use by dead', 'localhost.* is in use by idle'];
      all.push('localhost.* was in use until .*, .*127.0.0.1.* only until');
      expect(refused.err).toMatch(new RegExp(`^tidegate: .*${all.join('; .*')}`));
      for (const hint of [isLeft, isLost, 'copy the other way round']) {
        expect(refused.err).toContain(hint);
      }
      expect(await sequenceOf(target, 'a')).toBe(3);
      const forced = await copy(store.url, to, '--force');
      expect(forced.code).toBe(0);
      const said = all.map((why) => `tidegate: forced, although .*${why}.*\n`);
      expect(forced.err).toMatch(new RegExp(`^${said.join('')}$`));
      expect(await sequenceOf(target, 'a')).toBe(2);
    } finally {
      await other.dispose();
    }
  });
});

it('has nothing to do for a file', async () => {
  const { code, out } = await tidegate(['migrate'], { env: { TIDEGATE_STATE: 'file:/x.json' } });
  expect({ code, out }).toEqual({ code: 0, out: 'file:/x.json has no tables to migrate.\n' });
});

import { mkdirSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { PostgresEventJournal } from '../../src/state/postgres/postgres-journal.js';
import { FileStore } from '../support/file-store.js';
import { PostgresStore } from '../support/postgres-store.js';
import { fullScopeState, withSequence } from '../support/scope-states.js';
import { HOUR } from '../governor/support.js';
import { tidegate } from './run.js';

const TABLES = [
  'CreateTables1763856000000',
  'CreateJournal1764115200000',
  'AddReplaces1764201600000',
];

let store: PostgresStore;
beforeEach(async () => {
  store = await PostgresStore.create();
});
afterEach(() => store.dispose());

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
    };
    const state = { hot: { ...hot, lost: null, instances: { 'host-a': stopped } }, cold };
    await repository.update('a', () => ({ state, outcome: null }));
    await repository.close();
    const from = `file:${file.path}`;
    expect((await tidegate(['state', 'show', store.url])).code).toBe(78);
    expect(await tidegate(['state', 'copy', from, store.url])).toMatchObject({ code: 0, err: '' });
    const shown = await tidegate(['state', 'show', store.url, '--json']);
    expect(JSON.parse(shown.out)).toMatchObject({ loss: null, revision: 1, scopes: { a: state } });
    expect(shown.out).not.toContain('search_path');
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

it('copies nothing into tables that an idle instance may be using, unless forced', async () => {
  const file = new FileStore();
  try {
    const repository = await file.open();
    await repository.update('a', (state) => ({ state: withSequence(state, 1), outcome: null }));
    await repository.close();
    const there = await store.open();
    const heardAgo = (agoMs: number, stopped: boolean) =>
      there.update('a', (state, now) => {
        const at = now - agoMs;
        const idle = { startedAt: at, seenAt: at, stoppedAt: stopped ? at : null };
        const instances = { idle: { ...idle, inFlight: 0, guessed: 0, coldTokens: 0 } };
        return { state: { ...state, hot: { ...state.hot, instances } }, outcome: null };
      });
    // It is newer, too, and that is told first: so the copy goes the other way.
    const copy = ['state', 'copy', store.url, `file:${file.path}`];
    await heardAgo(2 * HOUR, false);
    const refused = await tidegate(copy);
    expect(refused).toMatchObject({ code: 75, out: '' });
    expect(refused.err).toContain('is in use by idle\n');
    expect(refused.err).toContain('If they have died');
    for (const [agoMs, stopped] of [
      [4 * HOUR, false],
      [0, true],
    ] as const) {
      await heardAgo(agoMs, stopped);
      expect(await tidegate(copy)).toMatchObject({ code: 0, err: '' });
    }
  } finally {
    await file.dispose();
  }
});

it('has nothing to do for a file', async () => {
  const { code, out } = await tidegate(['migrate'], { env: { TIDEGATE_STATE: 'file:/x.json' } });
  expect({ code, out }).toEqual({ code: 0, out: 'file:/x.json has no tables to migrate.\n' });
});

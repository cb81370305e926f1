import { afterEach, beforeEach, expect, it } from 'vitest';
import { PostgresStore } from '../support/postgres-store.js';
import { tidegate } from './run.js';

let store: PostgresStore;
beforeEach(async () => {
  store = await PostgresStore.create();
});
afterEach(() => store.dispose());

it('makes the tables, once, and lets an instance without that right start', async () => {
  const env = { TIDEGATE_STATE: store.url };
  const planned = await tidegate(['migrate', '--dry-run'], { env });
  expect(planned).toMatchObject({ code: 0, out: 'to do: CreateTables1763856000000\n' });
  const done = await tidegate(['migrate'], { env });
  expect(done).toMatchObject({ code: 0, out: 'done: CreateTables1763856000000\n', err: '' });
  const again = await tidegate(['migrate'], { env });
  expect(again).toMatchObject({ code: 0, out: 'The tables are up to date.\n' });

  // The rights of docs/guides/postgres.md, and no more.
  const role = `${store.schema}_user`;
  await store.sql(`
    create role ${role} login;
    grant usage on schema ${store.schema} to ${role};
    grant select on tidegate_migrations to ${role};
    grant select, insert, update on tidegate_store, tidegate_scopes, tidegate_scopes_cold to ${role};
    grant insert on tidegate_set_aside to ${role}`);
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

it('has nothing to do for a file', async () => {
  const { code, out } = await tidegate(['migrate'], { env: { TIDEGATE_STATE: 'file:/x.json' } });
  expect({ code, out }).toEqual({ code: 0, out: 'file:/x.json has no tables to migrate.\n' });
});

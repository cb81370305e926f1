import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { StateRepository } from '../../src/state/state-repository.js';
import { PostgresServer } from '../support/postgres-server.js';
import { PostgresStore, sql } from '../support/postgres-store.js';
import { increment, sequenceOf } from '../support/scope-states.js';
import { until } from '../support/until.js';

/** What may happen to the server itself: one of this file's own, with commits that it need not flush. */
let server: PostgresServer;
let store: PostgresStore;
beforeAll(async () => {
  server = await PostgresServer.start({ synchronous_commit: 'off', wal_writer_delay: '10s' });
}, 60_000);
afterAll(() => server?.stop());
beforeEach(async () => {
  store = await PostgresStore.create(server.url());
});
afterEach(() => store.dispose());

async function codeOf(update: Promise<unknown>): Promise<string> {
  return update.then(
    () => 'done',
    (error: unknown) => (error as { readonly code: string }).code,
  );
}

/** Callers that count what they were told, until the server is gone. */
async function untilCrash(repository: StateRepository): Promise<number> {
  let told = 0;
  let crashed = false;
  const caller = async () => {
    while (!crashed) {
      if ((await codeOf(repository.update('a', increment))) === 'done') told += 1;
    }
  };
  const callers = Promise.all(Array.from({ length: 8 }, caller));
  await until(() => told >= 200, 30_000);
  await server.crash();
  crashed = true;
  await callers;
  await server.resume();
  return told;
}

describe('a server that crashes', () => {
  it('has kept every commit that was told, although it was set not to wait for its disk', async () => {
    const repository = await store.open();
    const told = await untilCrash(repository);
    await until(() => repository.health().healthy, 20_000);
    const kept = await sequenceOf(repository, 'a');
    expect(kept).toBeGreaterThanOrEqual(told);
    // Beyond those, at most one fold whose outcome was not known.
    expect(kept).toBeLessThanOrEqual(told + 8);
    expect((await repository.read('a')).state.hot.lost).toBeNull();
  }, 60_000);

  it('forgets what is committed without that, which this server does by default', async () => {
    const client = new pg.Client({ connectionString: store.url });
    client.on('error', () => undefined);
    await client.connect();
    await client.query('create table counter (n int); insert into counter values (0)');
    await client.query('checkpoint');
    for (let n = 0; n < 50; n += 1) await client.query('update counter set n = n + 1');
    await server.crash();
    await client.end().catch(() => undefined);
    await server.resume();
    const [row] = await store.sql<{ n: number }>('select n from counter');
    expect(row!.n).toBeLessThan(50);
  }, 60_000);
});

describe('a server that takes no writes', () => {
  it('read-only: unavailable with the reason, and healed without a restart', async () => {
    const repository = await store.open();
    await repository.update('a', increment);
    await sql(server.url(), "alter system set default_transaction_read_only = 'on'");
    await sql(server.url(), 'select pg_reload_conf()');
    await until(async () => (await codeOf(repository.update('a', increment))) !== 'done', 5_000);
    expect(repository.health().healthy).toBe(false);
    expect(repository.health().problem).toContain('point TIDEGATE_STATE at the primary');
    // Reading goes on.
    expect(await sequenceOf(repository, 'a')).toBeGreaterThan(0);
    await sql(server.url(), 'alter system reset default_transaction_read_only');
    await sql(server.url(), 'select pg_reload_conf()');
    await until(() => repository.health().healthy, 10_000);
    expect(await codeOf(repository.update('a', increment))).toBe('done');
  }, 60_000);

  it('out of connections: unavailable with the reason, and healed without a restart', async () => {
    const role = `${store.schema}_user`;
    const database = await store.sql<{ name: string }>('select current_database() as name');
    await store.sql(`
      create role ${role} login;
      grant all on schema ${store.schema} to ${role};
      grant create on database ${database[0]!.name} to ${role}`);
    const url = new URL(store.url);
    url.username = role;
    const repository = await store.open({ url: url.href });
    await repository.update('a', increment);
    await store.sql(`alter role ${role} connection limit 0`);
    await store.sql(`select pg_terminate_backend(pid) from pg_stat_activity
      where usename = '${role}'`);
    expect(await codeOf(repository.update('a', increment))).toBe('STATE_UNAVAILABLE');
    expect(repository.health().problem).toContain('max_connections');
    await store.sql(`alter role ${role} connection limit -1`);
    await until(() => repository.health().healthy, 10_000);
    expect(await repository.update('a', increment)).toBe(1);
    await repository.close();
    await store.sql(`drop owned by ${role} cascade; drop role ${role}`);
  }, 60_000);

  it('with all of the pool’s connections stuck: unavailable in bounded time', async () => {
    const repository = await store.open();
    for (const scope of ['a', 'b', 'c', 'd', 'e']) await repository.update(scope, increment);
    const holder = new pg.Client({ connectionString: store.url });
    await holder.connect();
    await holder.query('begin; select from tidegate_scopes for update');
    const since = performance.now();
    const scopes = ['a', 'b', 'c', 'd', 'e'];
    const codes = await Promise.all(scopes.map((s) => codeOf(repository.update(s, increment))));
    expect(codes).toEqual(scopes.map(() => 'STATE_UNAVAILABLE'));
    expect(performance.now() - since).toBeLessThan(8_000);
    await holder.end();
    await until(() => repository.health().healthy, 10_000);
    expect(await repository.update('a', increment)).toBe(1);
  }, 60_000);
});

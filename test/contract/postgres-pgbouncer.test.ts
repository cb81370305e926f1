import { describe } from 'vitest';
import { PgBouncer, PGBOUNCER_MISSING } from '../support/pgbouncer.js';
import { PostgresStore, postgresUrl } from '../support/postgres-store.js';
import { runContract } from './run-contract.js';

if (PGBOUNCER_MISSING !== null) console.log(`skipped: ${PGBOUNCER_MISSING}`);

describe.skipIf(PGBOUNCER_MISSING !== null)('the real pooler', () => {
  runContract('postgres behind PgBouncer in transaction mode', () => {
    let opening: Promise<[PostgresStore, PgBouncer]> | null = null;
    const make = async (): Promise<[PostgresStore, PgBouncer]> => {
      const store = await PostgresStore.create();
      return [store, await PgBouncer.open(await postgresUrl(), store.schema)];
    };
    const open = async () => {
      const [store, pooler] = await (opening ??= make());
      return store.open({ url: pooler.through(store.url) });
    };
    return {
      open,
      crash: open,
      dispose: async () => {
        const [store, pooler] = (await opening) ?? [];
        await store?.dispose();
        await pooler?.close();
      },
    };
  });
});

import { describe } from 'vitest';
import { PgBouncer, PGBOUNCER_MISSING } from '../support/pgbouncer.js';
import { postgresUrl } from '../support/postgres-store.js';
import { behindPooler } from './behind-pooler.js';
import { runContract } from './run-contract.js';

if (PGBOUNCER_MISSING !== null) console.log(`skipped: ${PGBOUNCER_MISSING}`);

describe.skipIf(PGBOUNCER_MISSING !== null)('the real pooler', () => {
  runContract('postgres behind PgBouncer in transaction mode', () =>
    behindPooler(async ({ schema }) => PgBouncer.open(await postgresUrl(), schema)),
  );
});

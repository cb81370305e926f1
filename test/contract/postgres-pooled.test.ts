import { afterAll, beforeAll, expect } from 'vitest';
import { PostgresStore, postgresUrl } from '../support/postgres-store.js';
import { TransactionPooler } from '../support/transaction-pooler.js';
import { runContract } from './run-contract.js';

/** Every transaction on another session, and nothing of a session kept. */
let switched = 0;
beforeAll(() => {
  switched = 0;
});
afterAll(() => expect(switched).toBeGreaterThan(100));

runContract('postgres behind a pooler in transaction mode', () => {
  let opening: Promise<[PostgresStore, TransactionPooler]> | null = null;
  const make = async (): Promise<[PostgresStore, TransactionPooler]> => [
    await PostgresStore.create(),
    await TransactionPooler.open(await postgresUrl()),
  ];
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
      switched += pooler?.switched ?? 0;
      await pooler?.close();
    },
  };
});

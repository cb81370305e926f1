import { afterAll, beforeAll, expect } from 'vitest';
import { postgresUrl } from '../support/postgres-store.js';
import { TransactionPooler } from '../support/transaction-pooler.js';
import { behindPooler } from './behind-pooler.js';
import { runContract } from './run-contract.js';

/** Every transaction on another session, and nothing of a session kept. */
let poolers: TransactionPooler[];
beforeAll(() => {
  poolers = [];
});
afterAll(() => {
  const switched = poolers.reduce((sum, pooler) => sum + pooler.switched, 0);
  expect(switched).toBeGreaterThan(100);
});

runContract('postgres behind a pooler in transaction mode', () =>
  behindPooler(async () => {
    const pooler = await TransactionPooler.open(await postgresUrl());
    poolers.push(pooler);
    return pooler;
  }),
);

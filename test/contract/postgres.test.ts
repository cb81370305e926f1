import { PostgresStore } from '../support/postgres-store.js';
import { runContract } from './run-contract.js';

runContract('postgres', () => {
  let creating: Promise<PostgresStore> | null = null;
  const store = () => (creating ??= PostgresStore.create());
  return {
    open: async () => (await store()).open(),
    // Another session sees what is committed, and nothing else. That it outlives a crash of the
    // server is shown in test/fault.
    crash: async () => (await store()).open(),
    dispose: async () => (await creating)?.dispose(),
  };
});

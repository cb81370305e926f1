import { SqliteStore } from '../support/sqlite-store.js';
import { runContractOnDisk } from './run-contract.js';

runContractOnDisk('sqlite', () => new SqliteStore());

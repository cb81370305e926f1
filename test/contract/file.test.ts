import { FileStore } from '../support/file-store.js';
import { runContractOnDisk } from './run-contract.js';

runContractOnDisk('file', () => new FileStore());

import { FileStore } from '../support/file-store.js';
import { runContract } from './run-contract.js';

runContract('file', () => {
  const store = new FileStore();
  const crashed: FileStore[] = [];
  return {
    open: () => store.open(),
    crash: () => {
      const copy = store.copy();
      crashed.push(copy);
      return copy.open();
    },
    dispose: async () => {
      for (const each of [store, ...crashed]) await each.dispose();
    },
  };
});

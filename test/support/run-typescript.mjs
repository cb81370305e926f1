/**
 * Lets a child process run this repository's TypeScript as it stands, without a build:
 * `node --experimental-transform-types --import ./test/support/run-typescript.mjs child.ts`.
 * Node takes the types out; sources import one another as `.js`, which is found as `.ts` here.
 */
import { registerHooks } from 'node:module';

registerHooks({
  resolve(specifier, context, nextResolve) {
    try {
      return nextResolve(specifier, context);
    } catch (error) {
      if (error.code !== 'ERR_MODULE_NOT_FOUND' || !specifier.endsWith('.js')) throw error;
      return nextResolve(specifier.replace(/\.js$/, '.ts'), context);
    }
  },
});

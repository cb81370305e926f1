import { fileURLToPath } from 'node:url';

/** For a child's environment: a start is mostly compiling, and the tests start hundreds. */
export const COMPILE_CACHE = {
  NODE_COMPILE_CACHE: fileURLToPath(
    new URL('../../node_modules/.cache/compiled/', import.meta.url),
  ),
};

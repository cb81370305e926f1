#!/usr/bin/env node
// Must parse and run on Node 12 as well, only to say in one line that it is too old: so there is no
// static import here and no syntax younger than ES2018. Everything else is behind the import below.

const NEEDED_MAJOR = 22;
const NEEDED_MINOR = 19;
/**
 * The configuration's exit code (src/cli/exit-codes.ts): a restart with the same Node.js cures
 * nothing.
 */
const EXIT_CONFIG = 78;
const EXIT_SOFTWARE = 70;

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);

if (major > NEEDED_MAJOR || (major === NEEDED_MAJOR && minor >= NEEDED_MINOR)) {
  import('./cli/cli.js')
    .then((cli) => cli.main())
    .catch((error: unknown) => {
      console.error(error);
      process.exit(EXIT_SOFTWARE);
    });
} else {
  console.error(
    `tidegate needs Node.js ${NEEDED_MAJOR}.${NEEDED_MINOR} or newer; this is ${process.version} ` +
      `(${process.execPath}). What to do: install Node.js 24, or in a checkout use "npm start", ` +
      'which runs on the Node.js 24 that "npm install" has put beside it.',
  );
  process.exitCode = EXIT_CONFIG;
}

// The second half of `npm run build`. A start is mostly looking for files: there were 1,800, nearly all
// of them the packages'. Here what tsc has made of src (build/) and the packages become some eighty,
// of which a start reads fifty (docs/internals/decisions.md). Nothing is renamed or squeezed: whoever
// reads a stack finds the function that it names.
import { readFileSync } from 'node:fs';
import { build } from 'rolldown';

/** Nest looks for these, each in a part of it that Tidegate has no use for. */
const NOT_INSTALLED = [
  /^@nestjs\/(microservices|platform-express|websockets)/,
  /^@fastify\/(multipart|static|view)$/,
  /^class-(transformer|validator)$/,
];

/** As it is: it must run where nothing else does, on a Node.js that is too old (src/main.ts). */
const MAIN = {
  name: 'main',
  generateBundle() {
    this.emitFile({
      type: 'asset',
      fileName: 'main.js',
      source: readFileSync(new URL('build/main.js', import.meta.url)),
    });
  },
};

await build({
  cwd: import.meta.dirname,
  input: {
    'cli/cli': 'build/cli/cli.js',
    // What runs on a thread of its own is started by its file, beside the file that starts it.
    'chunks/database-thread': 'build/state/sqlite/database-thread.js',
    'chunks/journal-thread': 'build/state/sqlite/journal-thread.js',
  },
  platform: 'node',
  // A driver has a binary beside it, and what adds to a global must run before all who use that. (The
  // others stay installed, too: Terminus asks for `@nestjs/axios`.)
  external: ['better-sqlite3', 'reflect-metadata', ...NOT_INSTALLED],
  plugins: [MAIN],
  output: {
    dir: 'dist',
    cleanDir: true,
    // As deep as a room of src: package.json is two up from both.
    chunkFileNames: 'chunks/[name].js',
    // Nest and prom-client know classes by their names.
    keepNames: true,
  },
  onLog(level, { code, message }) {
    // A command that is loaded when it is asked for, and is at hand all the same: no harm.
    if (code === 'INEFFECTIVE_DYNAMIC_IMPORT') return;
    // A package that can't be found would be missed only by whoever comes to need it.
    if (level === 'warn') throw new Error(message);
  },
});

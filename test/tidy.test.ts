import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

/**
 * The rooms of docs/internals/architecture.md, checked by reading imports: who may know whom, and that nobody knows
 * himself in a circle. What a rule allows is written as data, so that an exception is seen.
 */
const ROOT = resolve(import.meta.dirname, '..');
const SRC = join(ROOT, 'src');

interface Import {
  /** Path under src without its ending, or the name of a package. */
  readonly target: string;
  /** `import()`, or the file of a thread: loaded when it is wanted, so it closes no circle. */
  readonly lazy: boolean;
}

interface Source {
  readonly path: string;
  readonly room: string;
  readonly text: string;
  readonly imports: readonly Import[];
}

const SOURCES = sourcesUnder(SRC).map(readSource);

/** What each room may import: rooms, single files, packages. Its own files always. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  budget: ['state/scope-state'],
  backoff: ['state/scope-state'],
  calibration: ['state/scope-state'],
  governor: [
    'budget',
    'backoff',
    'calibration',
    'platform',
    'state/scope-state',
    'state/state-repository',
  ],
  state: ['platform', 'node:path', 'node:zlib', 'pg', 'typeorm'],
  dialects: ['node:buffer', 'node:zlib'],
  proxy: [
    'governor',
    'dialects',
    'platform',
    'state/scope-state',
    'undici',
    'node:crypto',
    'node:diagnostics_channel',
    'node:http',
    'node:net',
    'node:stream',
    'node:zlib',
  ],
  schedule: [
    'governor',
    'platform',
    'config/config',
    'data-plane',
    '@nestjs/common',
    '@nestjs/schedule',
  ],
  health: [
    'governor',
    'platform',
    'schedule',
    'config/config',
    'data-plane',
    '@nestjs/axios',
    '@nestjs/common',
    '@nestjs/terminus',
  ],
  admin: [
    'governor',
    'history',
    'platform',
    'config/config',
    // What a duration looks like is the same everywhere.
    'config/parse',
    'state/event-journal',
    'state/scope-state',
    'data-plane',
    'event-log',
    'standing',
    '@nestjs/common',
    'node:crypto',
  ],
  history: [
    'budget',
    'governor',
    'platform',
    'state/event-journal',
    'state/scope-state',
    'state/state-repository',
  ],
  metrics: [
    'governor',
    'platform',
    'schedule',
    'admin/admin-access',
    'calibration/sample',
    'state/scope-state',
    'data-plane',
    '@nestjs/common',
    'prom-client',
  ],
  config: [
    'platform',
    'backoff/settings',
    'budget/settings',
    'dialects/dialect',
    // Pure, and what a setting may say must be said in one place.
    'dialects/generic/json-path',
    'dialects/generic/metered-path',
    'state/scope-state',
    'state/state-repository',
    'yaml',
    'node:crypto',
    'node:net',
    'node:path',
    'node:url',
  ],
  cli: [
    'config',
    'dialects',
    'platform',
    'inspect-store',
    'open-repository',
    'state/audit',
    'state/held-state',
    'state/scope-state',
    'state/state-repository',
    'node:fs',
    'node:os',
    'node:net',
    'node:util',
  ],
  simulate: [
    'budget',
    'backoff',
    'calibration',
    'governor',
    'platform',
    'state/memory',
    'state/state-repository',
    // The world file is read, and its mistakes are told, as those of the configuration are.
    'config/format',
    'config/given',
    'config/parse',
    'config/problem',
    'config/settings',
    'config/yaml-file',
  ],
  platform: ['node:'],
};

/** The Nest module of a room knows Nest, and the data plane that the room's part comes out of. */
const MODULE_MAY_IMPORT = ['@nestjs/', 'data-plane'];

/** Files with a wider view than their room. */
const EXCEPTIONS: Readonly<Record<string, readonly string[]>> = {
  // The one command that loads the server.
  'cli/serve': [
    'data-plane',
    'load-control-plane',
    'event-log',
    'service-reports',
    'store-reports',
  ],
  // The one command that works on a store without an instance.
  'cli/migrate': ['state/postgres/migrate'],
  'cli/banner': ['budget/settings'],
  // Which of a limit's budgets counts is said in one place.
  'cli/state-show': ['budget/bounds', 'budget/limits'],
  // What the control plane answers with, and the same from the journal while there is none.
  'cli/events': ['admin/told-event', 'history/event-recorder', 'open-journal'],
  'cli/event-text': ['admin/told-event'],
  'cli/explain': ['admin/explanation'],
  'cli/explain-text': ['admin/explanation'],
  'cli/explain-remedy': ['admin/explanation'],
  // The driver, on the main thread for reading and on a thread of its own for writing.
  'state/sqlite/schema': ['better-sqlite3'],
  'state/sqlite/read-database': ['better-sqlite3'],
  'state/sqlite/state-database': ['better-sqlite3', 'node:fs'],
  'state/sqlite/thread-connection': ['node:worker_threads'],
  // Asks the provider for its limits, and edits a file of the operator's.
  'cli/limits-api': ['@nestjs/axios', 'axios', 'rxjs'],
  'cli/limits-file': ['yaml'],
  'cli/limits-import': ['node:path'],
  'state/sqlite/journal-database': ['better-sqlite3', 'node:fs'],
  'state/sqlite/journal-thread': ['node:worker_threads'],
  'cli/simulate': ['simulate', 'node:path'],
  'cli/replay': ['simulate', 'node:path'],
  'cli/lines': ['node:string_decoder'],
  // Ties the data plane's end to the application's.
  'proxy/proxy-lifecycle': MODULE_MAY_IMPORT,
};

describe('rooms', () => {
  const rooms = new Set(SOURCES.map(({ room }) => room));

  it.each([...rooms].filter((room) => room !== ''))('%s imports what it may', (room) => {
    const allowed = MAY_IMPORT[room];
    expect(allowed, 'a new room needs a rule here').toBeDefined();
    const strangers = SOURCES.filter((source) => source.room === room).flatMap((source) =>
      source.imports
        .filter((imported) => !isAllowed(source, imported, allowed ?? []))
        .map(({ target }) => `${source.path} imports ${target}`),
    );
    expect(strangers).toEqual([]);
  });

  it('dialects and policies are pure at run time: policies know only each other’s values', () => {
    const policies = ['budget', 'backoff', 'calibration'];
    const crossings = SOURCES.filter(
      ({ room, path }) => policies.includes(room) && !path.endsWith('.module'),
    ).flatMap(({ path, room, imports }) =>
      imports
        .filter(({ target }) =>
          policies.some((other) => other !== room && target.startsWith(`${other}/`)),
        )
        .map(({ target }) => `${path} imports ${target}`),
    );
    expect(crossings).toEqual([]);
  });

  it('no adapter imports another', () => {
    const adapters = SOURCES.filter(({ path }) => /^state\/[^/]+\//.test(path));
    const crossings = adapters.flatMap(({ path, imports }) =>
      imports
        .filter(({ target }) => /^state\/[^/]+\//.test(target) && dirname(target) !== dirname(path))
        .map(({ target }) => `${path} imports ${target}`),
    );
    expect(crossings).toEqual([]);
  });
});

describe('imports', () => {
  it('have no cycles', () => {
    const graph = new Map(
      SOURCES.map(({ path, imports }) => [
        path,
        imports.filter(({ lazy }) => !lazy).map(({ target }) => target),
      ]),
    );
    expect(cyclesIn(graph)).toEqual([]);
  });

  it('of whole folders by a barrel do not exist', () => {
    const barrels = SOURCES.filter(({ path }) => path.endsWith('/index'));
    expect(barrels.map(({ path }) => path)).toEqual([]);
  });

  it('reach every file from the entry', () => {
    const graph = new Map(
      SOURCES.map(({ path, imports }) => [path, imports.map(({ target }) => target)]),
    );
    const seen = new Set<string>();
    const visit = (path: string) => {
      if (seen.has(path)) return;
      seen.add(path);
      for (const target of graph.get(path) ?? []) visit(target);
    };
    visit('main');
    expect([...graph.keys()].filter((path) => !seen.has(path))).toEqual([]);
  });
});

describe('the start', () => {
  const eager = (entry: string) => {
    const seen = new Set<string>();
    const visit = (path: string) => {
      if (seen.has(path)) return;
      seen.add(path);
      const source = SOURCES.find((candidate) => candidate.path === path);
      for (const { target, lazy } of source?.imports ?? []) if (!lazy) visit(target);
    };
    visit(entry);
    return seen;
  };
  const slow = (entry: string) =>
    [...eager(entry)].filter((target) => /^(@nestjs\/|prom-client|reflect-metadata)/.test(target));

  it('opens the data port before Nest and the metrics library are loaded', () => {
    expect(slow('cli/serve')).toEqual([]);
    expect(slow('control-plane'), 'the check itself').toContain('prom-client');
  });
});

describe('time, chance and the process', () => {
  const outside = SOURCES.filter(({ room }) => room !== 'platform');

  it.each([
    ['Date', /\bnew Date\b|\bDate\.(now|parse|UTC)\b/],
    ['Math.random', /\bMath\.random\b/],
    ['timers', /\b(setTimeout|setInterval|setImmediate)\(/],
    ['performance.now', /\bperformance\.now\b/],
    ['fsync', /\b(fsync|fdatasync|datasync)\b\(/],
  ])('%s stays in platform/', (_, pattern) => {
    const users = outside.filter(({ text }) => pattern.test(withoutComments(text)));
    // A socket's idle timeout is an option of the socket, not a timer of ours.
    const strangers = users.filter(({ text }) =>
      pattern.test(text.replaceAll(/\.setTimeout\(/g, '')),
    );
    expect(strangers.map(({ path }) => path)).toEqual([]);
  });

  it('process.env is read at the edge only', () => {
    const users = SOURCES.filter(({ text }) => /process\.env/.test(withoutComments(text)));
    expect(users.map(({ path }) => path)).toEqual(['cli/terminal']);
  });
});

describe('files', () => {
  it('stay of a size that can be read', () => {
    const long = SOURCES.filter(({ text }) => text.split('\n').length > 420);
    expect(long.map(({ path }) => path)).toEqual([]);
  });

  it('leave nothing to do behind', () => {
    const reminders = SOURCES.filter(({ text }) => /\b(TODO|FIXME|XXX|HACK)\b/.test(text));
    expect(reminders.map(({ path }) => path)).toEqual([]);
  });
});

describe('documents', () => {
  const documents = markdownUnder(ROOT);

  it('link only to what is there', () => {
    const broken = documents.flatMap((path) =>
      [...readFileSync(path, 'utf8').matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)/g)]
        .map(([, target]) => resolve(dirname(path), target ?? ''))
        .filter((target) => !existsSync(target))
        .map((target) => `${relative(ROOT, path)} -> ${relative(ROOT, target)}`),
    );
    expect(broken).toEqual([]);
  });

  it('have one title each', () => {
    const titles = (path: string) =>
      readFileSync(path, 'utf8')
        .replaceAll(/```[\s\S]*?```/g, '')
        .match(/^# /gm)?.length ?? 0;
    expect(
      documents.filter((path) => titles(path) !== 1).map((path) => relative(ROOT, path)),
    ).toEqual([]);
  });

  it('have every section of the wire facts that a comment names', () => {
    const facts = readFileSync(join(ROOT, 'docs/internals/wire-facts.md'), 'utf8');
    const sections = new Set(facts.match(/(?<=^#+ )[\d.]*\d/gm));
    const named = SOURCES.flatMap(({ path, text }) =>
      [...text.matchAll(/wire facts[\s*]+§([\d.]*\d)/g)].map(([, section]) => ({ path, section })),
    );
    expect(named.length).toBeGreaterThan(0);
    expect(named.filter(({ section = '' }) => !sections.has(section))).toEqual([]);
  });

  it('name every error code', () => {
    const codes = readFileSync(join(SRC, 'platform/tidegate-error.ts'), 'utf8').match(
      /'[A-Z]+_[A-Z]+'/g,
    );
    const reference = readFileSync(join(ROOT, 'docs/reference/errors.md'), 'utf8');
    const missing = (codes ?? []).filter((code) => !reference.includes(code.replaceAll("'", '`')));
    expect(codes).not.toBeNull();
    expect(missing).toEqual([]);
  });
});

function isAllowed(source: Source, { target }: Import, allowed: readonly string[]): boolean {
  const { path, room } = source;
  const wider = [...(EXCEPTIONS[path] ?? [])];
  if (path.endsWith('.module')) wider.push(...MODULE_MAY_IMPORT);
  // A room's module may import the module of a room it depends on.
  if (path.endsWith('.module') && target.endsWith('.module')) return true;
  return [room, ...allowed, ...wider].some((permitted) => covers(permitted, target));
}

/** `budget` covers `budget/cost`, `node:` every built-in, `@nestjs/` every package of Nest. */
function covers(permitted: string, target: string): boolean {
  if (permitted.endsWith(':') || permitted.endsWith('/')) return target.startsWith(permitted);
  return target === permitted || target.startsWith(`${permitted}/`);
}

function sourcesUnder(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath, entry.name));
}

function readSource(file: string): Source {
  const path = relative(SRC, file).replace(/\.ts$/, '');
  const text = readFileSync(file, 'utf8');
  const room = path.includes('/') ? (path.split('/')[0] as string) : '';
  const eager = [
    ...text.matchAll(/^(?:import|export)\s[^'";]*?from\s+'([^']+)'/gms),
    ...text.matchAll(/^import\s+'([^']+)'/gm),
  ].map(([, specifier]) => ({ specifier, lazy: false }));
  const later = [
    ...text.matchAll(/\bimport\('([^']+)'\)/g),
    ...text.matchAll(/\bnew URL\('(\.[^']+\.js)', import\.meta\.url\)/g),
  ].map(([, specifier]) => ({ specifier, lazy: true }));
  const imports = [...eager, ...later].map(({ specifier = '', lazy }) => ({
    lazy,
    target: specifier.startsWith('.')
      ? relative(SRC, resolve(dirname(file), specifier)).replace(/\.js$/, '')
      : specifier,
  }));
  return { path, room, text, imports };
}

function cyclesIn(graph: ReadonlyMap<string, readonly string[]>): string[] {
  const cycles: string[] = [];
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]) => {
    const at = trail.indexOf(path);
    if (at >= 0) cycles.push([...trail.slice(at), path].join(' -> '));
    if (at >= 0 || done.has(path)) return;
    for (const target of graph.get(path) ?? [])
      if (graph.has(target)) visit(target, [...trail, path]);
    done.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
  return cycles;
}

function withoutComments(text: string): string {
  return text.replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
}

function markdownUnder(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true })
    .filter(
      ({ name }) => !['node_modules', 'build', 'dist', '.git', 'data', '.vitest'].includes(name),
    )
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) return markdownUnder(path);
      return entry.name.endsWith('.md') ? [path] : [];
    });
}

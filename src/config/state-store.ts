/** Where the state is: how that is written, and how it may be shown. */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { StoreConfig } from './config.js';
import { parsed, wrong, type Parsed, type Parser } from './parse.js';
import { printable } from './problem.js';
import { didYouMean, suggest } from './suggest.js';

const SCHEMES = ['file', 'sqlite', 'postgres', 'postgresql'] as const;

const EXAMPLES = {
  file: { relative: './data/state.json', absolute: '/path/to/state.json' },
  sqlite: { relative: './data/state.db', absolute: '/path/to/state.db' },
} as const;

/** Of the stores with a path, `path` is still as given, absolute or not. */
export const STATE_STORE: Parser<StoreConfig> = {
  allowed:
    '"file:" or "sqlite:" and the path of a file, relative to the working directory or absolute; or postgres://user:password@host:port/database',
  example: `file:${EXAMPLES.file.relative}`,
  parse(text) {
    const given = /^([a-z][a-z0-9+.-]*):/i.exec(text)?.[1]?.toLowerCase();
    if (given === undefined) return wrong(`does not say which store${storeMeant(text)}`);
    const scheme = SCHEMES.find((known) => known === given);
    if (scheme === undefined) {
      const near = suggest(given, SCHEMES);
      return wrong(
        near === null ? 'names an unknown store' : `is not known; did you mean "${near}:"?`,
      );
    }
    if (scheme === 'file' || scheme === 'sqlite') return readPath(scheme, text);
    return readPostgresUrl(text);
  },
};

/** The store with its path made absolute. */
export function resolveStore(store: StoreConfig, cwd: string): StoreConfig {
  return store.kind === 'postgres' ? store : { ...store, path: resolve(cwd, store.path) };
}

/** In the query of an address, what else says which store it is. */
const PLACE = ['host', 'port', 'user', 'database'];
/** `options` may hold any setting of the server, so only the one that is about the place is shown. */
const SCHEMA = /^\s*-c\s*search_path=[\w$, "\\]+$/;

/**
 * As TIDEGATE_STATE would say it, safe to print: of an address without password, and of its query, where
 * some drivers take the password too, only what says which store it is.
 */
export function storeName(store: StoreConfig): string {
  if (store.kind !== 'postgres') return `${store.kind}:${store.path}`;
  const url = new URL(store.url);
  if (url.password !== '') url.password = '***';
  const shown = [...url.searchParams].filter(
    ([name, value]) => PLACE.includes(name) || (name === 'options' && SCHEMA.test(value)),
  );
  url.search = new URLSearchParams(shown).toString();
  return url.href;
}

function storeMeant(text: string): string {
  // With an "@" in it, it is more likely an address, with a password.
  if (!/[/.]/.test(text) || text.includes('@')) return '';
  const kind = /\.(db|sqlite3?)$/i.test(text) ? 'sqlite' : 'file';
  return `; did you mean ${JSON.stringify(`${kind}:${text}`)}?`;
}

function readPath(kind: 'file' | 'sqlite', text: string): Parsed<StoreConfig> {
  const rest = text.slice(`${kind}:`.length);
  if (rest.includes('\0')) return wrong('has a NUL character in it');
  // `~` is the shell's; taken literally it would quietly become a directory of that name.
  if (/^(\/\/)?~/.test(rest)) return wrong('begins with "~", which only a shell can resolve');
  if (kind === 'sqlite' && rest === ':memory:') return wrong('forgets everything at a restart');
  const path = rest.startsWith('//') ? pathOfUrl(rest) : rest;
  if (path === null) {
    const { absolute } = EXAMPLES[kind];
    return wrong(`names another host; an absolute path is ${kind}:${absolute}`);
  }
  if (path === '') return wrong('has no path');
  if (/(^|\/)\.{0,2}$/.test(path)) return wrong('names a directory');
  return parsed({ kind, path });
}

function pathOfUrl(rest: string): string | null {
  try {
    return fileURLToPath(`file:${rest}`);
  } catch {
    // A host, an encoded slash or a broken escape: none of them names a file here.
    return null;
  }
}

const ENCODE =
  '; percent-encode the password: "/" is %2F, "#" is %23, "?" is %3F, "@" is %40, "%" is %25';

function readPostgresUrl(text: string): Parsed<StoreConfig> {
  if (!URL.canParse(text)) return wrong(`is not a URL${text.includes('@') ? ENCODE : ''}`);
  const url = new URL(text);
  if (!text.slice(url.protocol.length).startsWith('//')) return wrong('has no "//"');
  if (url.hash !== '') {
    return wrong(`has a fragment${ENCODE}`);
  }
  if (![url.username, url.password, url.pathname].every(isDecodable)) {
    return wrong(`has a "%" that begins no character${ENCODE}`);
  }
  if (url.pathname.length < 2) return wrong('names no database');
  // What stands before it was taken for host and port.
  if (url.pathname.includes('@')) return wrong(`has an "@" in the name of the database${ENCODE}`);
  return parsed({ kind: 'postgres', url: url.href });
}

function isDecodable(part: string): boolean {
  try {
    decodeURIComponent(part);
    return true;
  } catch {
    return false;
  }
}

/** What the driver, or the server by way of it, knows in the query of the address. */
const PARAMETERS = [
  'application_name',
  'client_encoding',
  'connect_timeout',
  'database',
  'fallback_application_name',
  'host',
  'idle_in_transaction_session_timeout',
  'keepAlive',
  'lock_timeout',
  'options',
  'password',
  'port',
  'query_timeout',
  'ssl',
  'sslcert',
  'sslkey',
  'sslmode',
  'sslnegotiation',
  'sslrootcert',
  'statement_timeout',
  'uselibpqcompat',
  'user',
];

const SSL_MODES = ['disable', 'prefer', 'require', 'verify-ca', 'verify-full', 'no-verify'];

/**
 * The driver passes over what it does not know: a misspelt name leaves the connection plain, and a misspelt mode
 * is the strictest.
 */
export function oddParameters(store: StoreConfig): readonly string[] {
  if (store.kind !== 'postgres') return [];
  const { searchParams } = new URL(store.url);
  const names = new Set(searchParams.keys());
  const mode = searchParams.getAll('sslmode').at(-1) ?? '';
  return [
    ...[...names].filter((name) => !PARAMETERS.includes(name)).map(describeUnknown),
    ...(mode === '' || SSL_MODES.includes(mode) ? [] : [describeMode(mode)]),
  ];
}

function describeMode(mode: string): string {
  return `sslmode ${JSON.stringify(printable(mode))} is not known, and taken for "verify-full".${didYouMean(mode, SSL_MODES)}`;
}

function describeUnknown(name: string): string {
  return `${JSON.stringify(printable(name))} is no parameter that is known, and likely to have no effect.${didYouMean(name, PARAMETERS)}`;
}

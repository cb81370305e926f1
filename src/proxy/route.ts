import type { Dispatcher } from 'undici';
import type { Dialect } from '../dialects/dialect.js';
import type { Listener } from './listener.js';
import type { Shaping } from './shaping.js';

/** One upstream and the listener whose every path belongs to it. */
export interface Route {
  readonly name: string;
  /** Origin and base path, without a trailing slash. */
  readonly url: URL;
  /** Connections to it go through this one; null: there is none. */
  readonly proxy: URL | null;
  readonly listen: { readonly host: string; readonly port: number };
  readonly dialect: Dialect;
  /** Longest wait for response headers, in ms. */
  readonly timeoutMs: number;
  /** The scope that a request belongs to, by its headers. */
  readonly scopeOf: (header: HeaderLookup) => string;
  /** Takes the organization that an answer says the request's credential belongs to; null: not asked. */
  readonly onOrganization: ((header: HeaderLookup, organization: string) => void) | null;
}

/** Values by lower-case name. */
type HeaderLookup = (name: string) => string | undefined;

/** One that serves. */
export interface OpenRoute extends Route {
  readonly listener: Listener;
  readonly agent: Dispatcher;
  /** Each request goes out on a connection of its own. */
  readonly freshAgent: Dispatcher;
  readonly shaping: Shaping;
}

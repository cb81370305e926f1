/**
 * The proxy through which Tidegate itself connects, as the environment names it for all programs. It is
 * read here, so that whatever an instance connects to is reached the same way. (`tidegate limits import` leaves it to
 * axios, which reads the same variables.)
 */
import type { Environment } from './given.js';
import { expected, parsed, wrong, type Parser } from './parse.js';
import type { Findings } from './problem.js';

export interface OutboundProxies {
  readonly http: URL | null;
  readonly https: URL | null;
  /** Lower case: a host, `.domain`, `*.domain` or `*`, each perhaps with a port. */
  readonly except: readonly string[];
}

const PROXY_URL: Parser<URL> = {
  allowed:
    'the http or https URL of a proxy, with user and password in it where the proxy asks for them',
  example: 'http://proxy.example:3128',
  parse(text) {
    if (/^socks/i.test(text)) return wrong('is a SOCKS proxy, which is not supported');
    const url = URL.canParse(text) ? new URL(text) : null;
    if (url?.protocol === 'http:' || url?.protocol === 'https:') return parsed(url);
    return wrong(`is neither an http nor an https URL${urlMeant(text)}`);
  },
};

function urlMeant(text: string): string {
  return /^[a-z0-9.-]+(:\d{1,5})?$/i.test(text) ? `; did you mean "http://${text}"?` : '';
}

export function readOutboundProxies(env: Environment, findings: Findings): OutboundProxies {
  const http = readProxy('HTTP_PROXY', env, findings);
  const https = readProxy('HTTPS_PROXY', env, findings);
  const except =
    find('NO_PROXY', env)
      ?.text.toLowerCase()
      .split(/[,\s]+/) ?? [];
  return { http, https: https ?? http, except: except.filter((entry) => entry !== '') };
}

/** The proxy on the way to the URL; null: there is none. */
export function proxyFor(url: URL, { http, https, except }: OutboundProxies): URL | null {
  const proxy = url.protocol === 'https:' ? https : http;
  return except.some((entry) => isNamed(url, entry)) ? null : proxy;
}

/** For people: neither user nor password. */
export function proxyName(proxy: URL): string {
  return `${proxy.protocol}//${proxy.host}`;
}

function isNamed({ hostname, port, protocol }: URL, entry: string): boolean {
  // More than one colon, and no brackets: an IPv6 address.
  const [, name = entry, only] =
    /^\[(.+)\](?::(\d+))?$/.exec(entry) ?? /^([^:]+):(\d+)$/.exec(entry) ?? [];
  const own = port === '' ? (protocol === 'https:' ? '443' : '80') : port;
  if (only !== undefined && only !== own) return false;
  if (name === '*') return true;
  const host = hostname.replace(/^\[|\]$|\.$/g, '');
  const domain = name.replace(/^\*?\.|\.$/g, '');
  return host.endsWith(`.${domain}`) || (host === domain && !name.startsWith('*'));
}

/** The lower-case name wins, as with other programs; an empty one counts as not set. */
function find(name: string, env: Environment): { name: string; text: string } | null {
  for (const spelling of [name.toLowerCase(), name]) {
    const text = env[spelling]?.trim() ?? '';
    if (text !== '') return { name: spelling, text };
  }
  return null;
}

function readProxy(variable: string, env: Environment, findings: Findings): URL | null {
  const found = find(variable, env);
  if (found === null) return null;
  const place = { name: found.name, at: null };
  const result = PROXY_URL.parse(found.text);
  if (result.ok) {
    findings.applied(place, null);
    return result.value;
  }
  const { message } = result;
  findings.problem(place, { given: found.text, message, ...expected(PROXY_URL) });
  return null;
}

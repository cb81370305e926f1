/**
 * Parsers of settings that say where something is: a listener, an upstream, the file; the state's is in
 * state-store.ts.
 */
import { isIPv4, isIPv6 } from 'node:net';
import type { ListenAddress } from './config.js';
import { parsed, wrong, type Parser } from './parse.js';

/**
 * `127.0.0.1:8787`, `[::1]:8787`, `localhost:8787`. The host can't be left out: other programs take
 * `:8787` for every interface, and that should be said in full.
 */
export const LISTEN_ADDRESS: Parser<ListenAddress> = {
  allowed: 'host:port or [IPv6 address]:port, port 0 to 65535 (0 = any free port)',
  example: '127.0.0.1:8787',
  parse(text) {
    if (/^:?\d{1,5}$/.test(text)) {
      const port = text.replace(':', '');
      return wrong(
        `has no host; did you mean "127.0.0.1:${port}" (this machine only) ` +
          `or "0.0.0.0:${port}" (every interface)?`,
      );
    }
    const parts = /^(?:\[([^[\]]+)\]|([^[\]:]+)):(\d{1,5})$/.exec(text);
    if (parts === null) return wrong(`is not an address${addressMeant(text)}`);
    const [, ip6, hostname, digits] = parts;
    const host = ip6 === undefined ? readHost(hostname ?? '') : readIp6(ip6);
    if (host === null) return wrong('has a host that is neither a name nor an IP address');
    const port = Number(digits);
    return port > 65_535 ? wrong('has a port above 65535') : parsed({ host, port });
  },
};

function addressMeant(text: string): string {
  const port = /^(.+):(\d{1,5})$/.exec(text);
  if (port?.[1] !== undefined && isIPv6(port[1])) {
    return `; did you mean "[${port[1]}]:${port[2]}"?`;
  }
  return text.includes('://') ? ' (leave out the "http://")' : '';
}

function readHost(text: string): string | null {
  const host = text.toLowerCase();
  if (isIPv4(host)) return host;
  // Digits and dots alone are a mistyped IP address, never a name.
  if (/^[\d.]+$/.test(host) || host.length > 253) return null;
  const label = '[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?';
  return new RegExp(`^${label}(\\.${label})*$`).test(host) ? host : null;
}

/** The shortest spelling, so that two spellings of one address compare equal. */
function readIp6(text: string): string | null {
  if (!isIPv6(text)) return null;
  if (text.includes('%')) return text.toLowerCase();
  return new URL(`http://[${text}]`).hostname.slice(1, -1);
}

export const LOG_FILE: Parser<string> = {
  allowed: 'the path of a file, relative to the working directory or absolute',
  example: './data/access.log',
  parse(text) {
    if (text.includes('\0')) return wrong('has a NUL character in it');
    if (text.startsWith('~')) return wrong('begins with "~", which only a shell can resolve');
    return /(^|\/)\.{0,2}$/.test(text) ? wrong('names a directory') : parsed(text);
  },
};

const URL_ALLOWED = 'an http or https URL without user, password, query and fragment';

/** Origin and base path, without a slash at the end. */
export const UPSTREAM_URL: Parser<URL> = {
  allowed: URL_ALLOWED,
  example: 'https://api.anthropic.com',
  parse(text) {
    if (!URL.canParse(text)) return wrong(`is not a URL${urlMeant(text)}`);
    const url = new URL(text);
    if (url.protocol !== 'https:' && url.protocol !== 'http:') {
      return wrong(`is neither http nor https${urlMeant(text)}`);
    }
    if (url.username !== '' || url.password !== '') {
      return wrong('has a user or password; agents send their own credentials');
    }
    // An empty query or fragment leaves no trace in `search` and `hash`.
    if (/[?#]/.test(text)) return wrong('has a query or a fragment');
    if (/\s/.test(text)) return wrong('has a space in it');
    if (url.port === '0') return wrong('has port 0, where nothing can listen');
    url.pathname = url.pathname.replace(/\/+$/, '');
    return parsed(url);
  },
};

function urlMeant(text: string): string {
  const bare = /^[a-z0-9.-]+(:\d{1,5})?(\/[^\s?#@]*)?$/i.test(text);
  return bare && text.includes('.') ? `; did you mean "https://${text}"?` : '';
}

export const FILE_NAME: Parser<string> = {
  allowed: 'the path of a YAML file, relative to the working directory or absolute',
  example: './tidegate.yaml',
  parse(text) {
    return text.includes('\0') ? wrong('has a NUL character in it') : parsed(text);
  },
};

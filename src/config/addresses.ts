import type { ListenAddress } from './config.js';

const LOCALHOST = new Set(['localhost', '127.0.0.1', '::1']);
const EVERY_INTERFACE = new Set(['0.0.0.0', '::']);

/**
 * Whether only this machine can reach the address. A name other than `localhost` is not trusted
 * to be so.
 */
export function isLoopback(host: string): boolean {
  return LOCALHOST.has(host) || /^127\.\d+\.\d+\.\d+$/.test(host);
}

/** Whether two listeners can't exist side by side. Port 0 takes any free port and never clashes. */
export function clash(one: ListenAddress, other: ListenAddress): boolean {
  if (one.port !== other.port || one.port === 0) return false;
  return (
    sameHost(one.host, other.host) || covers(one.host, other.host) || covers(other.host, one.host)
  );
}

/**
 * Whether a request to the URL comes back to the listener. Only what is certain counts: behind
 * `0.0.0.0`, any other machine's name and address is a real upstream as far as can be known here.
 */
export function leadsTo(url: URL, listener: ListenAddress): boolean {
  const port = url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port);
  if (port !== listener.port) return false;
  const named = url.hostname.replace(/^\[|\]$/g, '');
  // A connection to `0.0.0.0` or `::` ends at this machine.
  const host = EVERY_INTERFACE.has(named) ? 'localhost' : named;
  return sameHost(host, listener.host) || (isLoopback(host) && covers(listener.host, host));
}

function sameHost(one: string, other: string): boolean {
  if (one === other) return true;
  const named = one === 'localhost' || other === 'localhost';
  return named && LOCALHOST.has(one) && LOCALHOST.has(other);
}

/** `::` takes IPv4 as well: that is how Node binds it. */
function covers(wildcard: string, host: string): boolean {
  if (wildcard === '::') return true;
  return wildcard === '0.0.0.0' && !host.includes(':');
}

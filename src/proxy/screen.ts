import type { IncomingMessage } from 'node:http';

/** Why a request is refused before anything else is done with it. */
export interface Objection {
  readonly kind: 'bad-request' | 'not-implemented' | 'loop';
  readonly message: string;
}

/**
 * What Node's parser lets through and a proxy must not: two readings of one request are how requests
 * are smuggled (RFC 9112 §11.2; wire facts §6). The parser itself refuses conflicting or repeated
 * lengths, a length beside chunked, bare line feeds and a missing Host.
 * `pseudonym` is our name in Via, by which a loop shows.
 */
export function screen(request: IncomingMessage, pseudonym: string): Objection | null {
  const target = request.url ?? '';
  if (!target.startsWith('/')) {
    return bad(
      'the request target must be a path: Tidegate is a reverse proxy and takes neither absolute-form targets nor CONNECT',
    );
  }
  const coding = request.headers['transfer-encoding'];
  if (coding !== undefined && coding.trim().toLowerCase() !== 'chunked') {
    return bad('the only transfer coding a request may have is "chunked"');
  }
  if (coding !== undefined && request.httpVersionMajor === 1 && request.httpVersionMinor === 0) {
    return bad('a request of HTTP/1.0 has no transfer coding');
  }
  if (countHosts(request.rawHeaders) > 1) return bad('a request has one Host');
  if (isWebSocket(request)) {
    return { kind: 'not-implemented', message: 'Tidegate does not relay WebSocket upgrades' };
  }
  if (request.headers.via?.includes(pseudonym)) {
    return {
      kind: 'loop',
      message: 'this request came from this very proxy: TIDEGATE_UPSTREAM points back at it',
    };
  }
  return null;
}

/** Whether a body follows the headers (RFC 9112 §6.3). */
export function hasBody(request: IncomingMessage): boolean {
  const length = request.headers['content-length'];
  return (
    request.headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0')
  );
}

function bad(message: string): Objection {
  return { kind: 'bad-request', message };
}

function countHosts(rawHeaders: readonly string[]): number {
  let hosts = 0;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    if (rawHeaders[index]?.toLowerCase() === 'host') hosts += 1;
  }
  return hosts;
}

function isWebSocket({ headers }: IncomingMessage): boolean {
  return headers.upgrade !== undefined && headers.upgrade.toLowerCase().includes('websocket');
}

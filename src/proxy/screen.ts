import type { IncomingMessage } from 'node:http';

/** Why a request is refused before anything else is done with it. */
export interface Objection {
  readonly kind: 'bad-request' | 'unmet-expectation' | 'not-implemented' | 'loop';
  readonly message: string;
}

/**
 * What Node's parser lets through and a proxy must not: two readings of one request are how requests
 * are smuggled (RFC 9112 §11.2; wire facts §6). The parser itself refuses conflicting or repeated
 * lengths, a length beside chunked, bare line feeds and folded headers.
 * `pseudonym` is our name in Via, by which a loop shows.
 */
export function screen(request: IncomingMessage, pseudonym: string): Objection | null {
  const { headers, httpVersion, url: target = '' } = request;
  if (httpVersion !== '1.1' && httpVersion !== '1.0') {
    return bad('the only versions of HTTP spoken here are 1.1 and 1.0');
  }
  if (!target.startsWith('/')) {
    return bad(
      'the request target must be a path: Tidegate is a reverse proxy and takes neither absolute-form targets nor CONNECT',
    );
  }
  if (target.includes('#')) return bad('a request target has no fragment');
  const hosts = countHosts(request.rawHeaders);
  if (hosts > 1 || (hosts === 0 && httpVersion === '1.1')) return bad('a request has one Host');
  const coding = headers['transfer-encoding'];
  if (coding !== undefined && coding.toLowerCase() !== 'chunked') {
    return bad('the only transfer coding a request may have is "chunked"');
  }
  if (coding !== undefined && httpVersion === '1.0') {
    return bad('a request of HTTP/1.0 has no transfer coding');
  }
  if (httpVersion === '1.1' && !/^(100-continue)?$/i.test(headers.expect ?? '')) {
    return {
      kind: 'unmet-expectation',
      message: 'the only expectation that can be met is "100-continue"',
    };
  }
  if (headers.upgrade?.toLowerCase().includes('websocket')) {
    return { kind: 'not-implemented', message: 'Tidegate does not relay WebSocket upgrades' };
  }
  if (headers.via?.includes(pseudonym)) {
    return {
      kind: 'loop',
      message: 'this request came from this very proxy: TIDEGATE_UPSTREAM points back at it',
    };
  }
  return null;
}

function bad(message: string): Objection {
  return { kind: 'bad-request', message };
}

function countHosts(rawHeaders: readonly string[]): number {
  let hosts = 0;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] as string;
    if (name.length === 4 && name.toLowerCase() === 'host') hosts += 1;
  }
  return hosts;
}

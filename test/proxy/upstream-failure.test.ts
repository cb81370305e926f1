import { describe, expect, it } from 'vitest';
import { failureOf } from '../../src/proxy/upstream-failure.js';

const UPSTREAM = { url: new URL('https://api.example:8443/base'), timeoutMs: 1_500, proxy: null };
const error = (code: string) => Object.assign(new Error('secret path'), { code });

describe('failureOf', () => {
  it.each([
    ['UND_ERR_INVALID_ARG', false, 'bad-request', 'the request cannot be said in HTTP/1.1'],
    ['UND_ERR_NOT_SUPPORTED', false, 'bad-request', 'the request cannot be said in HTTP/1.1'],
    ['UND_ERR_HEADERS_TIMEOUT', true, 'upstream-silent', 'sent no answer within 1.5 s'],
    ['ECONNREFUSED', false, 'upstream-unreachable', "api.example:8443 can't be reached"],
    ['UND_ERR_CONNECT_TIMEOUT', false, 'upstream-unreachable', "can't be reached"],
    ['UND_ERR_SOCKET', true, 'upstream-unreachable', 'gave no valid answer (UND_ERR_SOCKET)'],
  ])('%s (sent: %s) is %s', (code, sent, kind, message) => {
    const failure = failureOf({ error: error(code), sent }, UPSTREAM);
    expect(failure).toMatchObject({ kind, code });
    expect(failure.message).toContain(message);
    expect(failure.message).not.toContain('secret');
  });

  it('names the proxy where one is used, and what it answered', () => {
    const upstream = { ...UPSTREAM, proxy: new URL('http://me:hunter2@proxy:3128') };
    const message = (failure: Error) =>
      failureOf({ error: failure, sent: false }, upstream).message;
    expect(message(error('ECONNREFUSED'))).toBe(
      "the upstream api.example:8443 can't be reached through the proxy proxy:3128 (ECONNREFUSED)",
    );
    const refused = new Error('Proxy response (407) !== 200 when HTTP Tunneling');
    expect(message(refused)).toBe(
      "the upstream api.example:8443 can't be reached through the proxy proxy:3128 (the proxy answers 407)",
    );
    expect(failureOf({ error: refused, sent: false }, upstream).code).toBe('PROXY_407');
  });

  it('names an error that has no code', () => {
    const failure = failureOf({ error: new TypeError('x'), sent: true }, UPSTREAM);
    expect(failure.code).toBe('TypeError');
  });
});

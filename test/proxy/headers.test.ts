import { describe, expect, it } from 'vitest';
import { requestHeaders, responseHeaders } from '../../src/proxy/headers.js';

const HOP_BY_HOP = [
  'Connection',
  'Proxy-Connection',
  'Keep-Alive',
  'TE',
  'Transfer-Encoding',
  'Upgrade',
  'Trailer',
  'Proxy-Authenticate',
  'Proxy-Authorization',
];

function forwarded(raw: readonly string[]): readonly string[] {
  const options = { pseudonym: 'us', contentLength: undefined, httpVersion: '1.1' };
  const headers = requestHeaders(raw, options);
  expect(headers.slice(-2)).toEqual(['via', '1.1 us']);
  return headers.slice(0, -2);
}

describe.each([
  ['a request', forwarded],
  ['an answer', responseHeaders],
])('the headers of %s', (_, passOn) => {
  it.each(HOP_BY_HOP)('go on without %s, which is for one connection only', (name) => {
    for (const spelled of [name, name.toLowerCase(), name.toUpperCase()]) {
      expect(passOn(['X-A', '1', spelled, 'x', 'X-B', '2'])).toEqual(['X-A', '1', 'X-B', '2']);
    }
  });

  it('go on without what Connection names', () => {
    const raw = ['x-hop', 'a', 'Connection', 'close, X-Hop', 'X-Hopper', 'b'];
    expect(passOn(raw)).toEqual(['X-Hopper', 'b']);
  });
});

describe('the length of an answer', () => {
  it('goes on as it came', () => {
    expect(responseHeaders(['Content-Length', '5'])).toEqual(['Content-Length', '5']);
  });

  it('does not go on beside a transfer coding: one of the two lies (RFC 9112 §6.3)', () => {
    const length = ['Content-Length', '5'];
    const coding = ['Transfer-Encoding', 'chunked'];
    expect(responseHeaders([...length, ...coding])).toEqual([]);
    expect(responseHeaders([...coding, ...length])).toEqual([]);
  });
});

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

/** Lower-case names, as Node and undici make them; lines of one name joined. */
function recordOf(raw: readonly string[]): Record<string, string> {
  const record: Record<string, string> = {};
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index]!.toLowerCase();
    record[name] = [record[name] ?? [], raw[index + 1]!].flat().join(', ');
  }
  return record;
}

function forwarded(raw: string[]): readonly string[] {
  const head = { rawHeaders: raw, headers: recordOf(raw), httpVersion: '1.1' };
  const options = { pseudonym: 'us', contentLength: undefined, plainAnswer: false };
  const headers = requestHeaders(head, options);
  expect(headers.slice(-2)).toEqual(['via', '1.1 us']);
  return headers.slice(0, -2);
}

function returned(raw: readonly string[]): readonly string[] {
  return responseHeaders(raw, recordOf(raw), false);
}

describe.each([
  ['a request', forwarded],
  ['an answer', returned],
])('the headers of %s', (_, passOn) => {
  it.each(HOP_BY_HOP)('go on without %s, which is for one connection only', (name) => {
    for (const spelled of [name, name.toLowerCase(), name.toUpperCase()]) {
      expect(passOn(['X-A', '1', spelled, 'x', 'X-B', '2'])).toEqual(['X-A', '1', 'X-B', '2']);
    }
  });

  it('go on without what Connection names', () => {
    const raw = ['x-hop', 'a', 'Connection', 'close, X-Hop', 'X-Hopper', 'b'];
    expect(passOn(raw)).toEqual(['X-Hopper', 'b']);
    expect(passOn([...raw, 'connection', 'x-hopper'])).toEqual([]);
  });
});

describe('the length of an answer', () => {
  it('goes on as it came', () => {
    expect(returned(['Content-Length', '5'])).toEqual(['Content-Length', '5']);
  });

  it('does not go on beside a transfer coding: one of the two lies (RFC 9112 §6.3)', () => {
    const length = ['Content-Length', '5'];
    const coding = ['Transfer-Encoding', 'chunked'];
    expect(returned([...length, ...coding])).toEqual([]);
    expect(returned([...coding, ...length])).toEqual([]);
  });
});

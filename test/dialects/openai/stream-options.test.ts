import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { headerFields } from '../../../src/dialects/header-fields.js';
import { askForUsage } from '../../../src/dialects/openai/stream-options.js';
import { hostileBytes } from '../chunks.js';
import { dialect, NO_HEADERS, OPENAI } from './support.js';

const CHAT = '/v1/chat/completions';

const shaped = (body: string | Buffer, path = CHAT, headers = {}) =>
  askForUsage(path, headerFields(headers), Buffer.from(body as string))?.body.toString() ?? null;

describe('a stream is made to state its usage', () => {
  it.each([
    ['{"stream":true}', '{"stream":true,"stream_options":{"include_usage":true}}'],
    [
      ' {\n  "model": "m",\n  "stream": true,\n  "messages": []\n}\n',
      ' {\n  "model": "m",\n  "stream": true,"stream_options":{"include_usage":true},\n  "messages": []\n}\n',
    ],
    [
      '{"stream_options":null,"stream":true}',
      '{"stream_options":{"include_usage":true},"stream":true}',
    ],
    [
      '{"stream_options":{},"stream":true}',
      '{"stream_options":{"include_usage":true},"stream":true}',
    ],
    [
      '{"stream":true,"stream_options":{ "include_obfuscation" : false }}',
      '{"stream":true,"stream_options":{"include_usage":true, "include_obfuscation" : false }}',
    ],
    [
      '{"stream":true,"stream_options":{"include_usage":false}}',
      '{"stream":true,"stream_options":{"include_usage":true}}',
    ],
    [
      '{"stream":true,"stream_options":{"x":1,"include_usage": null}}',
      '{"stream":true,"stream_options":{"x":1,"include_usage": true}}',
    ],
    // Text that looks like the option is none.
    [
      '{"messages":[{"content":"\\"stream_options\\":{}"}],"stream":true}',
      '{"messages":[{"content":"\\"stream_options\\":{}"}],"stream":true,"stream_options":{"include_usage":true}}',
    ],
  ])('%s', (body, expected) => {
    expect(shaped(body)).toBe(expected);
  });

  it.each([
    '/v1/completions',
    '/openai/deployments/d/chat/completions',
    '/v1beta/openai/chat/completions/',
  ])('at %s', (path) => {
    expect(shaped('{"stream":true}', path)).toContain('include_usage');
  });
});

describe('a request is left alone', () => {
  it.each([
    ['that streams nothing', '{"model":"m","stream":false}'],
    ['that says nothing of a stream', '{"model":"m"}'],
    ['that asks already', '{"stream":true,"stream_options":{"include_usage":true}}'],
    ['whose stream is no boolean', '{"stream":"true"}'],
    ['whose stream is a longer word', '{"stream":trueish}'],
    ['whose options are no object', '{"stream":true,"stream_options":[]}'],
    ['whose option is no boolean', '{"stream":true,"stream_options":{"include_usage":1}}'],
    ['with a key twice', '{"stream":true,"model":"a","model":"b"}'],
    ['with an option twice', '{"stream":true,"stream_options":{"a":1,"a":2}}'],
    ['with an escape in a key', '{"stream":true,"stream\\u005foptions":null}'],
    ['that is cut off', '{"stream":true,"messages":[{"content":"a'],
    ['that is two documents', '{"stream":true}{"stream":true}'],
    ['that is a list', '[{"stream":true}]'],
    ['that is nothing', ''],
    ['with a byte order mark', '\ufeff{"stream":true}'],
    [
      'with more keys than anyone sends',
      `{"stream":true,${Array.from({ length: 300 }, (_, index) => `"k${index}":0`).join()}}`,
    ],
  ])('%s', (_what, body) => {
    expect(shaped(body)).toBeNull();
  });

  it('that is not UTF-8', () => {
    expect(shaped(Buffer.from('{"stream":true,"user":"\xe9"}', 'latin1'))).toBeNull();
    expect(shaped(Buffer.from('{"stream":true}', 'utf16le'))).toBeNull();
  });

  it('that is encoded', () => {
    expect(shaped(gzipSync('{"stream":true}'))).toBeNull();
    expect(shaped('{"stream":true}', CHAT, { 'content-encoding': 'gzip' })).toBeNull();
  });

  it.each(['/v1/responses', '/v1/embeddings', '/v1/chat/completions/x'])('at %s', (path) => {
    expect(shaped('{"stream":true}', path)).toBeNull();
  });

  it('where the operator says so', () => {
    const body = Buffer.from('{"stream":true}');
    expect(OPENAI.shapeRequest?.(CHAT, NO_HEADERS, body)).toBeTruthy();
    expect(dialect({ streamUsage: 'leave' }).shapeRequest).toBeUndefined();
  });
});

describe('an answer that refuses the option', () => {
  const shape = (body: string) => OPENAI.shapeRequest!(CHAT, NO_HEADERS, Buffer.from(body))!;
  const MISTRAL_422 =
    '{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","stream_options","include_usage"],"msg":"Extra inputs are not permitted","input":true}]},"type":"invalid_request_error","param":null,"code":null}';

  it('is told from others', () => {
    const { mayReject, isRejected } = shape('{"stream":true}');
    expect([200, 400, 404, 422, 429, 500].filter(mayReject)).toEqual([400, 422]);
    expect(isRejected(MISTRAL_422)).toBe(true);
    expect(isRejected('Unknown parameter: stream_options')).toBe(true);
    expect(isRejected('include_usage: extra inputs are not permitted')).toBe(true);
    expect(isRejected('Unknown parameter: temperatur')).toBe(false);
  });
});

const json = fc.jsonValue({ maxDepth: 3 });
const options = fc.oneof(
  fc.constant(undefined),
  fc.constant(null),
  fc.record(
    {
      include_usage: fc.constantFrom(false, null),
      include_obfuscation: fc.boolean(),
      other: json,
    },
    { requiredKeys: [] },
  ),
);

describe('what is added', () => {
  it('is the option and nothing else, for every body', () => {
    const body = fc.record({
      before: fc.dictionary(
        fc.string().filter((key) => !/[\\"\p{C}]/u.test(key)),
        json,
      ),
      options,
      after: json,
      indent: fc.constantFrom(0, 1, '\t'),
      last: fc.boolean(),
    });
    fc.assert(
      fc.property(body, ({ before, options: given, after, indent, last }) => {
        const own = given === undefined ? {} : { stream_options: given };
        const rest = { after, tail: [after] };
        const original = last
          ? { ...before, ...rest, ...own, stream: true }
          : { ...before, stream: true, ...own, ...rest };
        const text = JSON.stringify(original, null, indent);
        const result = shaped(text);
        expect(result).not.toBeNull();
        expect(JSON.parse(result as string)).toEqual({
          ...JSON.parse(text),
          stream_options: { ...given, include_usage: true },
        });
        // One place was touched, and by as little as it takes.
        const [start, end] = difference(text, result as string);
        expect(start + end).toBeGreaterThanOrEqual(text.length - '"include_usage":false'.length);
        expect((result as string).length - text.length).toBeLessThanOrEqual(
          ',"stream_options":{"include_usage":true}'.length,
        );
        const { body: asking, undo } = askForUsage(CHAT, NO_HEADERS, Buffer.from(text))!;
        expect(undo(asking).toString()).toBe(text);
      }),
      { numRuns: 300 },
    );
  });

  it('never changes what it cannot read, and never throws', () => {
    fc.assert(
      fc.property(hostileBytes, (bytes) => {
        const before = Buffer.from(bytes);
        const asked = askForUsage(CHAT, NO_HEADERS, bytes);
        expect(bytes.equals(before)).toBe(true);
        if (asked === null) return;
        expect(bytes.includes('"stream"')).toBe(true);
        expect(asked.undo(asked.body).equals(bytes)).toBe(true);
      }),
    );
  });
});

/** How many characters two texts share at their beginnings, and at their ends after that. */
function difference(one: string, other: string): [start: number, end: number] {
  let start = 0;
  while (start < one.length && one[start] === other[start]) start++;
  let end = 0;
  while (end < one.length - start && one.at(-1 - end) === other.at(-1 - end)) end++;
  return [start, end];
}

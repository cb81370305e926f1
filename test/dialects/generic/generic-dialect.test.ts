import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  genericDialect,
  type GenericSettings,
} from '../../../src/dialects/generic/generic-dialect.js';
import { parseJsonPath, valueAt } from '../../../src/dialects/generic/json-path.js';
import { parseMeteredPath } from '../../../src/dialects/generic/metered-path.js';
import { headerFields } from '../../../src/dialects/header-fields.js';
import { cutAt, cuts, feed, hostileBytes } from '../chunks.js';

const SSE = 'text/event-stream';

function dialect(settings: Partial<GenericSettings> = {}) {
  return genericDialect({
    meteredPaths: [],
    inputTokensAt: null,
    outputTokensAt: null,
    ...settings,
  });
}

describe('a path in JSON', () => {
  const document = { usage: { 'total-tokens': 7 }, steps: [{ n: 1 }, { n: [2, 3] }], a: null };

  it.each([
    ['usage.total-tokens', 7],
    ['steps[0].n', 1],
    ['steps[-1].n[1]', 3],
    ['steps[5].n', undefined],
    ['steps.length', undefined],
    ['usage.toString', undefined],
    ['a.b', undefined],
    ['usage[0]', undefined],
  ])('%s', (text, expected) => {
    expect(valueAt(document, parseJsonPath(text)!)).toBe(expected);
  });

  it('may begin in a list', () => {
    expect(valueAt([{ n: 4 }], parseJsonPath('[0].n')!)).toBe(4);
  });

  it.each([
    '',
    '.',
    'a.',
    '.a',
    'a..b',
    'a[',
    'a[x]',
    'a[1',
    'a.[0]',
    'a b',
    '$.usage[*]',
    'a[0]b',
    'a'.repeat(101),
    'a.'.repeat(20) + 'a',
    '[1e3]',
  ])('not %s', (text) => {
    expect(parseJsonPath(text)).toBeNull();
  });

  it('finds whatever is named, and throws for nothing', () => {
    const steps = fc.array(
      fc.oneof(fc.stringMatching(/^[\w$@-]{1,10}$/), fc.integer({ min: -3, max: 3 })),
      { minLength: 1, maxLength: 8 },
    );
    fc.assert(
      fc.property(steps, fc.jsonValue(), (path, value) => {
        const text = path
          .map((step, index) =>
            typeof step === 'number' ? `[${step}]` : index === 0 ? step : `.${step}`,
          )
          .join('');
        expect(parseJsonPath(text)).toEqual(path);
        valueAt(value, path);
      }),
    );
    fc.assert(fc.property(fc.string(), (text) => void parseJsonPath(text)));
  });
});

describe('what is metered', () => {
  it.each([
    [[], 'POST', '/anything/at/all', true],
    [[], 'PATCH', '/', true],
    [[], 'GET', '/anything', false],
    [['/v1/search'], 'POST', '/v1/search', true],
    [['/v1/search'], 'POST', '//v1//search/', true],
    [['/v1/search'], 'POST', '/v1/search/more', false],
    [['/v1/search'], 'POST', '/v1/Search', true],
    [['/v1/search'], 'POST', '/v1/searches', false],
    [['/v1/search'], 'POST', null, true],
    [['/v1/search'], 'GET', null, false],
    [['/v1/*/run'], 'PUT', '/v1/m.1/run', true],
    [['/v1/*/run'], 'POST', '/v1/a/b/run', false],
    [['/v1/m.1'], 'POST', '/v1/mx1', false],
    [['/v2/**'], 'POST', '/v2', true],
    [['/v2/**'], 'POST', '/v2/a\n/b', true],
    [['/v2/**'], 'POST', '/v20', false],
    [['/**'], 'POST', '/', true],
    [['/a', '/b'], 'POST', '/b', true],
  ])('%j: %s %s is %s', (meteredPaths, method, path, metered) => {
    expect(dialect({ meteredPaths }).isMetered(method, path)).toBe(metered);
  });

  it.each([
    '',
    'v1',
    '/v1?x',
    '/v1#x',
    '/**/x',
    '/a**',
    '/a*b',
    '/a b',
    '/%20',
    `/${'a'.repeat(300)}`,
  ])('not by %s, which is no pattern', (text) => {
    expect(parseMeteredPath(text)).toBeNull();
  });
});

describe('usage', () => {
  const read = (settings: Partial<GenericSettings>, type: string, chunks: readonly Buffer[]) => {
    const reader = dialect(settings).openUsageReader(type, '/');
    feed(chunks, (bytes) => void reader.push(bytes));
    return reader.end();
  };
  const figures = (settings: Partial<GenericSettings>, type: string, text: string) => {
    const usage = read(settings, type, [Buffer.from(text)]);
    return [usage.inputTokens, usage.outputTokens, usage.complete];
  };
  const BOTH = { inputTokensAt: 'meta.in', outputTokensAt: 'meta.out[0]' };

  it.each<
    [string, Partial<GenericSettings>, string, readonly [number | null, number | null, boolean]]
  >([
    ['where both paths find it', BOTH, '{"meta":{"in":5,"out":[7]}}', [5, 7, true]],
    ['unknown where one finds nothing', BOTH, '{"meta":{"in":5}}', [5, null, false]],
    [
      'unknown where the figure is none',
      BOTH,
      '{"meta":{"in":-5,"out":["7"]}}',
      [null, null, false],
    ],
    ['unknown where the body is no JSON', BOTH, '<meta in="5"/>', [null, null, false]],
    ['a total', { inputTokensAt: 'n' }, '{"n":12}', [12, 0, true]],
    ['a total that is not there', { inputTokensAt: 'n' }, '{}', [null, 0, false]],
    ['output alone', { outputTokensAt: 'n' }, '{"n":12}', [0, 12, true]],
    ['unknown without paths', {}, '{"usage":{"total_tokens":5}}', [null, null, false]],
    [
      'unknown in a body that is too large',
      { inputTokensAt: 'n' },
      `{"n":1,"pad":"${'x'.repeat(4_200_000)}"}`,
      [null, 0, false],
    ],
  ])('%s', (_what, settings, body, expected) => {
    expect(figures(settings, 'application/json', body)).toEqual(expected);
  });

  it('is not made of what is left of a body that is too large', () => {
    const pieces = ['{"pad":"', 'x'.repeat(4_200_000), '","n":5}'].map((text) => Buffer.from(text));
    expect(read({ inputTokensAt: 'n' }, 'application/json', pieces).inputTokens).toBeNull();
  });

  it('of a stream is the newest that its events state', () => {
    const stream =
      'data: {"meta":{"in":5}}\n\ndata: tick\n\ndata: {"meta":{"out":[1]}}\n\nevent: x\ndata: {"meta":{"out":[9]}}\n\ndata: [DONE]\n\n';
    expect(figures(BOTH, SSE, stream)).toEqual([5, 9, true]);
  });

  it('does not depend on how the network cuts it, and throws for nothing', () => {
    fc.assert(
      fc.property(
        hostileBytes,
        cuts,
        fc.constantFrom(SSE, 'application/json'),
        (bytes, places, type) => {
          const settings = { inputTokensAt: 'usage.input_tokens', outputTokensAt: '[0]' };
          expect(read(settings, type, cutAt(bytes, places))).toEqual(read(settings, type, [bytes]));
        },
      ),
    );
  });
});

describe('refusals', () => {
  const read = (status: number, headers: Record<string, string> = {}) =>
    dialect().readRefusal(status, headerFields(headers), '', 0);

  it('are what HTTP says they are', () => {
    expect(read(429)).toEqual({ kind: 'unknown', statedWaitMs: null, limits: [] });
    expect(read(429, { 'retry-after': '30' })).toMatchObject({
      kind: 'quota',
      statedWaitMs: 30_000,
    });
    expect(read(503, { 'retry-after': '2' })).toMatchObject({
      kind: 'overload',
      statedWaitMs: 2_000,
    });
    expect(read(529)?.kind).toBe('overload');
    expect(read(402)).toBeNull();
    expect(read(500)).toBeNull();
  });
});

it('its own answers are plain JSON', () => {
  const problem = { kind: 'rate-limited', message: 'Paused.', requestId: 'tg_1' } as const;
  const { status, headers, body } = dialect().localAnswer(problem);
  expect([status, headers]).toEqual([429, { 'x-request-id': 'tg_1' }]);
  expect(JSON.parse(body)).toEqual({
    error: 'rate-limited',
    message: 'Paused.',
    requestId: 'tg_1',
  });
});

import zlib from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { ANTHROPIC } from '../../src/dialects/anthropic/anthropic-dialect.js';
import { costOf } from '../../src/governor/settlement.js';
import { Meter } from '../../src/proxy/meter.js';
import { streamEvents } from '../support/fake-upstream.js';

const EVENTS = streamEvents({ input: 1_000, output: 50 });
/** The first event states the input, and a token of output. */
const HALVES = [EVENTS.slice(0, 1), EVENTS.slice(1)].map((part) => Buffer.from(part.join('')));
const ESTIMATE = { requests: 1, inputTokens: 900, outputTokens: 400 };

/** What an answer costs whose body is this. */
async function costs(coding: string, body: Buffer) {
  const listener = { onInput: () => {}, onFailure: () => {}, onDrained: () => {} };
  const meter = new Meter(ANTHROPIC, '/v1/messages', 'text/event-stream', coding, listener);
  meter.push(body);
  const settlement = await meter.end(true);
  const { inputTokens, outputTokens } = costOf(settlement, ESTIMATE);
  return { inputTokens, outputTokens, complete: 'complete' in settlement && settlement.complete };
}

describe('a meter', () => {
  it.each([
    ['gzip', (part: Buffer) => zlib.gzipSync(part)],
    ['zstd', (part: Buffer) => zlib.zstdCompressSync(part)],
  ])('reads an answer that is several bodies of %s', async (coding, encode) => {
    expect(await costs(coding, Buffer.concat(HALVES.map(encode)))).toEqual({
      inputTokens: 1_000,
      outputTokens: 50,
      complete: true,
    });
  });

  it.each([
    ['deflate', (part: Buffer) => zlib.deflateSync(part)],
    ['deflate', (part: Buffer) => zlib.deflateRawSync(part)],
    ['br', (part: Buffer) => zlib.brotliCompressSync(part)],
  ])('keeps the estimate where something follows the end of a %s', async (coding, encode) => {
    expect(await costs(coding, Buffer.concat(HALVES.map(encode)))).toEqual({
      inputTokens: 1_000,
      outputTokens: 400,
      complete: false,
    });
  });

  it.each(['gzip', 'zstd'])(
    'keeps the estimate where %s ends in something else',
    async (coding) => {
      const encode = coding === 'gzip' ? zlib.gzipSync : zlib.zstdCompressSync;
      const body = Buffer.concat([encode(HALVES[0]!), Buffer.from('something else')]);
      const { outputTokens, complete } = await costs(coding, body);
      expect([outputTokens, complete]).toEqual([400, false]);
    },
  );

  it('never takes the estimate for less than what was stated', async () => {
    const much = Buffer.from(streamEvents({ input: 1_000, output: 5_000 }).join(''));
    const body = Buffer.concat([zlib.deflateSync(much), Buffer.from('something else')]);
    expect((await costs('deflate', body)).outputTokens).toBe(5_000);
  });
});

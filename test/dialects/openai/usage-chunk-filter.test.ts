import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { UsageChunkFilter } from '../../../src/dialects/openai/usage-chunk-filter.js';
import { cutAt, cuts, hostileBytes } from '../chunks.js';
import { chunk, data, DONE, usageChunk } from './support.js';

/** What comes through, chunk by chunk, and in the end. */
function filtered(chunks: readonly Buffer[]): Buffer {
  const filter = new UsageChunkFilter();
  return Buffer.concat([...chunks.flatMap((bytes) => filter.push(bytes)), ...filter.end()]);
}

const through = (text: string) => filtered([Buffer.from(text)]).toString();

const HELLO = data(chunk('Hello', { usage: null }));
const USAGE = data(usageChunk({ prompt_tokens: 9, completion_tokens: 2, total_tokens: 11 }));
const AZURE_FIRST = data({ ...usageChunk({}), usage: null, prompt_filter_results: [{}] });

describe('of a stream', () => {
  it.each([
    ['the chunk that we asked for is taken out', HELLO + USAGE + DONE, HELLO + DONE],
    ['with CRLF', crlf(HELLO + USAGE + DONE), crlf(HELLO + DONE)],
    ['with CR', cr(HELLO + USAGE + DONE), cr(HELLO + DONE)],
    ['without a space after the colon', HELLO + USAGE.replace(': ', ':') + DONE, HELLO + DONE],
    [
      'written with spaces',
      data(JSON.stringify({ choices: [], usage: {} }).replace('[]', '[ ]')) + DONE,
      DONE,
    ],
    ['on two lines', `data: {"choices":[],\ndata: "usage":{"prompt_tokens":1}}\n\n${DONE}`, DONE],
    ['at an end without a blank line', HELLO + USAGE.trimEnd(), HELLO],
    ['with a name of its own', `event: chunk\n${USAGE}${DONE}`, DONE],
    ['behind a comment', `: ping\n\n${USAGE}: ping\n${USAGE}${DONE}`, `: ping\n\n: ping\n${DONE}`],
  ])('%s', (_what, stream, expected) => {
    expect(through(stream)).toBe(expected);
  });

  it.each([
    ['chunks with choices, whatever usage they state', data(chunk('x', { usage: { a: 1 } }))],
    ['Azure’s first chunk, which has no choices either', AZURE_FIRST],
    ['an error', data({ choices: [], usage: {}, error: { message: 'No.' } })],
    ['a chunk without usage', data({ choices: [] })],
    ['a usage without choices', data({ usage: {} })],
    ['what is no JSON', data('{"choices":[],"usage":{')],
    ['a comment that looks like it', `: ${USAGE.slice(6)}`],
    ['another field that looks like it', `dat: {"choices":[],"usage":{}}\n\n`],
    ['a chunk that is too long', data(usageChunk({ pad: 'x'.repeat(20_000) }))],
    ['the beginning of the chunk, where the stream is cut', USAGE.slice(0, -8)],
    ['all of it but the last brace', USAGE.trimEnd().slice(0, -1)],
    ['nothing', ''],
    ['blank lines', '\n\n\r\n\r\r'],
  ])('%s pass', (_what, stream) => {
    expect(through(HELLO + stream)).toBe(HELLO + stream);
  });
});

describe('the chunks of the network', () => {
  const part = fc.oneof(
    fc.constantFrom(HELLO, USAGE, DONE, AZURE_FIRST, ': ping\n\n', ': a\n', 'id: 1\n', '\n'),
    fc.constantFrom('event: x\n', 'data\n', 'data: {"choices":[],"usage":{}}\n'),
    fc.string({ unit: 'binary', maxLength: 30 }).map((text) => data(chunk(text))),
    fc
      .integer({ min: 16_200, max: 16_500 })
      .map((size) => data(usageChunk({ pad: 'x'.repeat(size) }))),
  );
  const streams = fc
    .tuple(fc.array(part, { maxLength: 12 }), fc.constantFrom(lf, crlf, cr, mixed))
    .map(([parts, ends]) => Buffer.from(ends(parts.join(''))));

  it('make no difference', () => {
    fc.assert(
      fc.property(fc.oneof(streams, hostileBytes), cuts, (stream, places) => {
        const whole = filtered([stream]);
        expect(filtered(cutAt(stream, places)).equals(whole)).toBe(true);
        expect(filtered([...stream].map((byte) => Buffer.from([byte]))).equals(whole)).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  it('take out every chunk that is there for us, and not one byte else', () => {
    const event = fc.record({ text: part, wanted: fc.boolean() });
    fc.assert(
      fc.property(fc.array(event), fc.constantFrom(lf, crlf, cr), cuts, (events, ends, places) => {
        const others = events.filter(({ text }) => text.endsWith('\n\n') && text !== USAGE);
        const kept = others.map(({ text }) => ends(text)).filter((text) => !isUsage(text));
        const stream = others.flatMap(({ text, wanted }) => {
          const own = isUsage(text) ? [] : [ends(text)];
          return wanted ? [ends(USAGE), ...own] : own;
        });
        const bytes = Buffer.from(stream.join(''));
        expect(filtered(cutAt(bytes, places)).toString()).toBe(kept.join(''));
      }),
      { numRuns: 200 },
    );
  });

  it('that hold whole events are passed on as they are, at once and without a copy', () => {
    const filter = new UsageChunkFilter();
    const bytes = Buffer.from(HELLO + HELLO);
    expect(filter.push(bytes)).toEqual([bytes]);
    expect(filter.push(bytes)[0]!.buffer).toBe(bytes.buffer);
  });

  it('that hold a part of an event wait for the rest of that event only', () => {
    const filter = new UsageChunkFilter();
    const text = (parts: readonly Buffer[]) => Buffer.concat([...parts]).toString();
    expect(text(filter.push(Buffer.from(HELLO + HELLO.slice(0, 20))))).toBe(HELLO);
    expect(text(filter.push(Buffer.from(HELLO.slice(20) + USAGE.slice(0, 30))))).toBe(HELLO);
    expect(text(filter.push(Buffer.from(USAGE.slice(30))))).toBe('');
    // A comment keeps connections alive: it waits for nothing.
    expect(text(filter.push(Buffer.from(': pi')))).toBe(': pi');
    expect(text(filter.push(Buffer.from('ng\n')))).toBe('ng\n');
    const long = `data: ${'x'.repeat(40_000)}`;
    expect(text(filter.push(Buffer.from(long)))).toBe(long);
    expect(text(filter.push(Buffer.from('more')))).toBe('more');
    expect(text(filter.push(Buffer.from(`\n\n${USAGE}`)))).toBe('\n\n');
  });
});

function isUsage(text: string): boolean {
  return /"choices":\[\],"usage":\{/.test(text);
}

function lf(text: string): string {
  return text;
}

function crlf(text: string): string {
  return text.replaceAll('\n', '\r\n');
}

function cr(text: string): string {
  return text.replaceAll('\n', '\r');
}

function mixed(text: string): string {
  let line = 0;
  return text.replaceAll('\n', () => ['\n', '\r\n', '\r'][(line += 1) % 3] as string);
}

import { Stream } from '@anthropic-ai/sdk/core/streaming';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MAX_EVENT_BYTES, SseSplitter } from '../../src/dialects/sse.js';
import { cutAt, cuts, feed, hostileBytes } from './chunks.js';

interface Event {
  readonly name: string;
  readonly data: string;
}

function split(chunks: readonly Buffer[], maxBytes = MAX_EVENT_BYTES): Event[] {
  const events: Event[] = [];
  const splitter = new SseSplitter(
    (name, data) => events.push({ name, data: data.toString() }),
    maxBytes,
  );
  feed(chunks, (chunk) => splitter.push(chunk));
  splitter.end();
  return events;
}

const splitText = (text: string, maxBytes?: number) => split([Buffer.from(text)], maxBytes);

// `{ unit: 'binary' }` reaches every code point, so that chunks are cut inside characters.
const lineText = fc
  .string({ unit: 'binary', maxLength: 12 })
  .map((text) => text.replaceAll(/[\r\n]/g, ''));
const event = fc.record({
  name: fc.constantFrom('', 'ping', 'content_block_delta'),
  lines: fc.array(lineText, { minLength: 1, maxLength: 3 }),
  noise: fc.constantFrom('', ': comment', 'id: 7', 'retry: 10', 'datum: no', 'nonsense'),
});
const newline = fc.constantFrom('\n', '\r', '\r\n');

/** Every line with an ending of its own. */
const stream = fc
  .tuple(fc.array(event, { maxLength: 8 }), fc.array(newline, { minLength: 1, maxLength: 7 }))
  .map(([events, newlines]) => {
    let lines = 0;
    const line = (text: string) => text + (newlines[lines++ % newlines.length] ?? '\n');
    const text = events
      .map(({ name, lines: data, noise }) =>
        [
          name === '' ? '' : line(`event: ${name}`),
          noise === '' ? '' : line(noise),
          ...data.map((part) => line(`data: ${part}`)),
          line(''),
        ].join(''),
      )
      .join('');
    return { text, events: events.map((e) => ({ name: e.name, data: e.lines.join('\n') })) };
  })
  // A CR followed by an empty line's LF would be one line ending, and the event would go on.
  .filter(({ text, events }) => splitByHand(text) === events.length);

/** Counts blank lines by the standard's own words: CRLF, else LF, else CR. */
function splitByHand(text: string): number {
  return text
    .split(/\r\n|\n|\r/)
    .slice(0, -1)
    .filter((line) => line === '').length;
}

describe('the SSE splitter', () => {
  it('gives the same events however lines end and chunks are cut', () => {
    fc.assert(
      fc.property(stream, cuts, ({ text, events }, places) => {
        expect(split(cutAt(Buffer.from(text), places))).toEqual(events);
      }),
      { numRuns: 500 },
    );
  });

  it('gives the same events byte by byte', () => {
    fc.assert(
      fc.property(stream, ({ text, events }) => {
        const bytes = Buffer.from(text);
        expect(split(Array.from(bytes, (_, at) => bytes.subarray(at, at + 1)))).toEqual(events);
      }),
    );
  });

  it("agrees with the SDK's own decoder", async () => {
    await fc.assert(
      fc.asyncProperty(stream, async ({ text }) => {
        const theirs: Event[] = [];
        const answer = new Response(text);
        for await (const raw of Stream.rawEvents(answer)) {
          theirs.push({ name: raw.event ?? '', data: raw.data });
        }
        expect(splitText(text)).toEqual(theirs);
      }),
      { numRuns: 50 },
    );
  });

  it.each<[string, string, Event[]]>([
    ['a byte order mark', '\ufeffdata: a\n\n', [{ name: '', data: 'a' }]],
    ['one space only is taken off', 'data:  a\n\n', [{ name: '', data: ' a' }]],
    ['no space', 'event:e\ndata:a\n\n', [{ name: 'e', data: 'a' }]],
    ['empty lines of data', 'data\ndata:\ndata: x\n\n', [{ name: '', data: '\n\nx' }]],
    ['an event without data is none', 'event: e\n\ndata: a\n\n', [{ name: '', data: 'a' }]],
    ['comments and empty lines', ':\n\n: hi\n\n\n\ndata: a\n\n', [{ name: '', data: 'a' }]],
    ['the last of two names', 'event: a\nevent: b\ndata: x\n\n', [{ name: 'b', data: 'x' }]],
    ['no blank line at the end', 'event: e\ndata: a\n', [{ name: 'e', data: 'a' }]],
    ['no line ending at the end', 'event: e\ndata: a', [{ name: 'e', data: 'a' }]],
    ['nothing', '', []],
  ])('%s', (_, text, events) => {
    expect(splitText(text)).toEqual(events);
  });

  it('does not take the halves of a CRLF for two line endings', () => {
    const halves = ['data: a\r', '\n', 'data: b\r', '', '\n\r', '\n'].map((half) =>
      Buffer.from(half),
    );
    expect(split(halves)).toEqual([{ name: '', data: 'a\nb' }]);
  });

  it('skips a line and an event over the bound as a whole, and goes on after it', () => {
    const long = 'x'.repeat(60);
    const events = [{ name: 'e', data: 'ok' }];
    const next = '\n\nevent: e\ndata: ok\n\n';
    for (const text of [`data: ${long}${next}`, `data: ${'y\ndata: '.repeat(40)}${next}`]) {
      expect(splitText(text, 50)).toEqual(events);
      expect(
        split(
          Array.from(text, (letter) => Buffer.from(letter)),
          50,
        ),
      ).toEqual(events);
    }
    expect(splitText(`data: ${long}`, 50)).toEqual([]);
    // One byte less is within it.
    expect(splitText(`data: ${long}\n\n`, 60)).toEqual([{ name: '', data: long }]);
  });

  it('skips the same near the bound however chunks are cut, and shows nothing over it', () => {
    const starts = ['data: ', 'data:', 'event: ', ': ', '', '\ufeffdata: '];
    const line = fc
      .tuple(fc.constantFrom(...starts), fc.nat(30), fc.constantFrom('\n', '\n\n', '\r\n\r\n'))
      .map(([start, length, end]) => `${start}${'x'.repeat(length)}${end}`);
    fc.assert(
      fc.property(fc.array(line, { maxLength: 8 }), cuts, (lines, places) => {
        const bytes = Buffer.from(lines.join(''));
        const whole = split([bytes], 12);
        expect(split(cutAt(bytes, places), 12)).toEqual(whole);
        for (const { data } of whole) expect(data.length).toBeLessThanOrEqual(12);
      }),
      { numRuns: 500 },
    );
  });

  it('cuts a name that is none, but no event for it', () => {
    const events = [{ name: 'n'.repeat(64), data: 'a' }];
    expect(splitText(`event: ${'n'.repeat(100)}\ndata: a\n\n`)).toEqual(events);
  });

  it('keeps a bounded part of a line that never ends', () => {
    const splitter = new SseSplitter(() => {});
    const chunk = Buffer.alloc(65_536, 'x');
    splitter.push(Buffer.from('data: '));
    const before = process.memoryUsage().arrayBuffers;
    for (let sent = 0; sent < 1024; sent++) splitter.push(chunk);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(4 * MAX_EVENT_BYTES);
  });

  it('never throws, and any chunking of hostile bytes gives the same', () => {
    fc.assert(
      fc.property(hostileBytes, cuts, (bytes, places) => {
        expect(split(cutAt(bytes, places), 40).length).toBe(split([bytes], 40).length);
        expect(split(cutAt(bytes, places))).toEqual(split([bytes]));
      }),
      { numRuns: 500 },
    );
  });
});

import Anthropic from '@anthropic-ai/sdk';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ANTHROPIC } from '../../../src/dialects/anthropic/anthropic-dialect.js';
import type { TokenUsage } from '../../../src/dialects/dialect.js';
import { cutAt, cuts, feed, hostileBytes } from '../chunks.js';

const SSE = 'text/event-stream; charset=utf-8';
const JSON_TYPE = 'application/json';
const NOTHING: TokenUsage = {
  inputTokens: null,
  cachedTokens: 0,
  outputTokens: null,
  relayedOutputTokens: 0,
  complete: false,
  failure: null,
};

function readChunks(contentType: string, chunks: readonly Buffer[]): TokenUsage {
  const reader = ANTHROPIC.openUsageReader(contentType, '/v1/messages');
  feed(chunks, (chunk) => void reader.push(chunk));
  return reader.end();
}

const read = (contentType: string, text: string) => readChunks(contentType, [Buffer.from(text)]);

function event(name: string, data: object): string {
  return `event: ${name}\ndata: ${JSON.stringify({ type: name, ...data })}\n\n`;
}

const failed = (status: number, type: string, message?: string) => ({
  status,
  body: JSON.stringify({ type: 'error', error: { type, message } }),
});
const start = (usage: object) =>
  event('message_start', { message: { id: 'msg_1', role: 'assistant', content: [], usage } });
const delta = (part: object) => event('content_block_delta', { index: 0, delta: part });
const textDelta = (text: string) => delta({ type: 'text_delta', text });
const messageDelta = (usage: object | null) =>
  event('message_delta', { delta: { stop_reason: 'end_turn' }, usage });
const PING = event('ping', {});
const STOP = event('message_stop', {});
const START = start({
  input_tokens: 25,
  cache_creation_input_tokens: 100,
  cache_read_input_tokens: 9000,
  output_tokens: 1,
});
const WHOLE = [
  START,
  event('content_block_start', { index: 0, content_block: { type: 'text', text: '' } }),
  PING,
  textDelta('Hello'),
  textDelta('!'),
  event('content_block_stop', { index: 0 }),
  messageDelta({ output_tokens: 15 }),
  STOP,
].join('');
const WHOLE_USAGE: TokenUsage = {
  ...NOTHING,
  inputTokens: 125,
  cachedTokens: 9000,
  outputTokens: 15,
  relayedOutputTokens: 2,
  complete: true,
};

describe('usage of a stream', () => {
  it('is read from a whole one', () => {
    expect(read(SSE, WHOLE)).toEqual(WHOLE_USAGE);
  });

  it('is known as soon as message_start tells it, and what was relayed at the end', () => {
    const reader = ANTHROPIC.openUsageReader(SSE, '/v1/messages');
    expect(reader.push(Buffer.from(PING))).toEqual(NOTHING);
    const started = { ...WHOLE_USAGE, outputTokens: 1, relayedOutputTokens: 0, complete: false };
    expect(reader.push(Buffer.from(START))).toEqual(started);
    expect(reader.push(Buffer.from(textDelta('12345678')))).toMatchObject({ inputTokens: 125 });
    // The client went away: no terminal usage is ever sent.
    expect(reader.end()).toEqual({ ...started, relayedOutputTokens: 2 });
  });

  it.each<[string, string, Partial<TokenUsage>]>([
    [
      'cumulative, the last figure counts',
      START + messageDelta({ output_tokens: 7 }) + messageDelta({ output_tokens: 415 }) + STOP,
      { inputTokens: 125, outputTokens: 415, complete: true },
    ],
    [
      'server tools raise the input later (wire facts §2: 2,679 to 10,682)',
      start({ input_tokens: 2679, output_tokens: 3 }) +
        messageDelta({ input_tokens: 10_682, cache_read_input_tokens: 50, output_tokens: 510 }) +
        STOP,
      { inputTokens: 10_682, cachedTokens: 50, outputTokens: 510, complete: true },
    ],
    [
      'null takes nothing back',
      START +
        messageDelta({
          input_tokens: null,
          cache_creation_input_tokens: null,
          cache_read_input_tokens: null,
          output_tokens: 15,
        }) +
        messageDelta(null) +
        STOP,
      { inputTokens: 125, cachedTokens: 9000, outputTokens: 15, complete: true },
    ],
    [
      'nor does a gateway’s zero',
      START +
        messageDelta({ input_tokens: 0, cache_read_input_tokens: 0, output_tokens: 15 }) +
        STOP,
      { inputTokens: 125, cachedTokens: 9000, outputTokens: 15, complete: true },
    ],
    [
      'cache writes by lifetime only',
      start({
        input_tokens: 5,
        cache_creation: { ephemeral_5m_input_tokens: 30, ephemeral_1h_input_tokens: 4 },
        output_tokens: 1,
      }),
      { inputTokens: 39, complete: false },
    ],
    [
      'a compaction and an advisor, which the top figures leave out',
      start({ input_tokens: 100, output_tokens: 1 }) +
        messageDelta({
          input_tokens: 23_000,
          output_tokens: 1000,
          iterations: [
            { type: 'compaction', input_tokens: 180_000, output_tokens: 3500 },
            { type: 'message', input_tokens: 23_000, output_tokens: 1000 },
            { type: 'compaction' },
            {
              type: 'advisor_message',
              input_tokens: 40,
              cache_creation_input_tokens: 2,
              cache_read_input_tokens: 7,
              output_tokens: 9,
            },
          ],
        }) +
        STOP,
      {
        inputTokens: 203_042,
        cachedTokens: 7,
        outputTokens: 4509,
        complete: true,
      },
    ],
    [
      'overloaded before anything else',
      event('error', { error: { type: 'overloaded_error', message: 'Overloaded' } }),
      {
        inputTokens: null,
        failure: failed(529, 'overloaded_error', 'Overloaded'),
        complete: false,
      },
    ],
    [
      'overloaded midway: the figures so far stay',
      START + textDelta('Hell') + event('error', { error: { type: 'overloaded_error' } }),
      {
        inputTokens: 125,
        outputTokens: 1,
        relayedOutputTokens: 1,
        failure: failed(529, 'overloaded_error'),
      },
    ],
    [
      'rate limited',
      event('error', { error: { type: 'rate_limit_error' } }),
      { failure: failed(429, 'rate_limit_error') },
    ],
    [
      'no money left',
      event('error', { error: { type: 'billing_error' } }),
      { failure: failed(402, 'billing_error') },
    ],
    [
      'any other error',
      event('error', { error: { type: 'api_error' } }),
      { failure: failed(0, 'api_error') },
    ],
    [
      'an error nobody can read',
      'event: error\ndata: oops\n\n',
      { failure: { status: 0, body: 'oops' } },
    ],
    [
      'events of no known type',
      event('new_thing', { usage: { input_tokens: 9 } }) + WHOLE,
      WHOLE_USAGE,
    ],
    ['a stream without names', WHOLE.replaceAll(/^event: .*\n/gm, ''), WHOLE_USAGE],
    ['a stream with CRLF', WHOLE.replaceAll('\n', '\r\n'), WHOLE_USAGE],
    ['an end without its blank line', WHOLE.trimEnd(), WHOLE_USAGE],
    [
      'a stop without usage is not complete',
      textDelta('abcd') + STOP,
      { complete: false, inputTokens: null },
    ],
    [
      'nor is one without its input',
      messageDelta({ output_tokens: 15 }) + STOP,
      { complete: false, inputTokens: null, outputTokens: 15 },
    ],
    [
      'figures that are none',
      start({ input_tokens: -5, output_tokens: '7' }) + messageDelta({ output_tokens: 1.5 }) + STOP,
      { inputTokens: null, outputTokens: null, complete: false },
    ],
  ])('%s', (_, text, usage) => {
    expect(read(SSE, text)).toMatchObject(usage);
  });

  it.each<[string, object, number]>([
    ['text', { type: 'text_delta', text: 'abcdefgh' }, 2],
    ['tool input', { type: 'input_json_delta', partial_json: '{"path":"a"}' }, 3],
    ['thinking', { thinking: 'abcde', type: 'thinking_delta' }, 2],
    ['no signature', { type: 'signature_delta', signature: 'EqQBCgIYAhIM1gbcDa9GJwZA' }, 0],
    ['no citation', { type: 'citations_delta', citation: { cited_text: 'abcdefgh' } }, 0],
    ['an escape is one character', { type: 'text_delta', text: '\n\t\\"\u0001\n\n\n' }, 2],
    ['a letter of several bytes is one character', { type: 'text_delta', text: 'äöü€日本語é' }, 2],
    ['nothing', { type: 'text_delta', text: '' }, 0],
  ])('relayed: %s', (_, part, tokens) => {
    expect(read(SSE, delta(part)).relayedOutputTokens).toBe(tokens);
  });

  it('counts escaped letters as the letters they are', () => {
    const escaped = textDelta('xxxx').replace('xxxx', '\\u00e4\\u00f6\\"\\n');
    expect(read(SSE, escaped).relayedOutputTokens).toBe(1);
  });

  it('is the same however the chunks are cut', () => {
    const parts = fc.constantFrom(
      PING,
      START,
      STOP,
      textDelta('日本語 "quoted" \\ 🙂'),
      delta({ type: 'input_json_delta', partial_json: '{"text":"a' }),
      messageDelta({ output_tokens: 15 }),
      messageDelta({ output_tokens: 30, input_tokens: 400 }),
      event('error', { error: { type: 'overloaded_error' } }),
      ': comment\n\n',
    );
    fc.assert(
      fc.property(
        fc.array(parts, { maxLength: 12 }),
        fc.boolean(),
        cuts,
        (stream, crlf, places) => {
          const text = crlf ? stream.join('').replaceAll('\n', '\r\n') : stream.join('');
          const bytes = Buffer.from(text);
          expect(readChunks(SSE, cutAt(bytes, places))).toEqual(readChunks(SSE, [bytes]));
        },
      ),
      { numRuns: 500 },
    );
  });

  it('never falls as a stream goes on, and a cut one is never complete', () => {
    fc.assert(
      fc.property(fc.nat(WHOLE.length - 1), (length) => {
        const usage = read(SSE, WHOLE.slice(0, length));
        const more = read(SSE, WHOLE.slice(0, length + 1));
        expect(more.inputTokens ?? 0).toBeGreaterThanOrEqual(usage.inputTokens ?? 0);
        expect(more.outputTokens ?? 0).toBeGreaterThanOrEqual(usage.outputTokens ?? 0);
        expect(more.relayedOutputTokens).toBeGreaterThanOrEqual(usage.relayedOutputTokens);
        if (length < WHOLE.indexOf('event: message_stop')) expect(usage.complete).toBe(false);
      }),
    );
  });

  it('agrees with what the SDK gathers from the same stream', async () => {
    const client = new Anthropic({
      apiKey: 'none',
      maxRetries: 0,
      fetch: async () => new Response(WHOLE, { headers: { 'content-type': SSE } }),
    });
    const stream = client.messages.stream({
      model: 'm',
      max_tokens: 1,
      messages: [{ role: 'user', content: 'hi' }],
    });
    const { usage } = await stream.finalMessage();
    const ours = read(SSE, WHOLE);
    expect(ours.inputTokens).toBe(usage.input_tokens + (usage.cache_creation_input_tokens ?? 0));
    expect(ours.cachedTokens).toBe(usage.cache_read_input_tokens);
    expect(ours.outputTokens).toBe(usage.output_tokens);
  });
});

describe('usage of a JSON body', () => {
  const usage = {
    input_tokens: 20,
    cache_creation_input_tokens: 5,
    cache_read_input_tokens: 300,
    output_tokens: 44,
  };
  const known = {
    ...NOTHING,
    inputTokens: 25,
    cachedTokens: 300,
    outputTokens: 44,
  };
  // The text speaks of usage, as a model asked about the API does.
  const content = (size: number) => [
    { type: 'text', text: '"usage":{"input_tokens":7} {"usage":1} \\'.repeat(size) },
    { type: 'tool_use', input: { usage: { input_tokens: 7, output_tokens: 7 } } },
  ];
  const message = { id: 'msg_1', type: 'message', role: 'assistant' };

  // 1: all of it is kept; 5,000 and 50,000: 200 kB and 2 MB, of which the middle is let go.
  it.each([1, 5_000, 50_000])('stands before or behind a content of any size (%d)', (size) => {
    const behind = { ...message, content: content(size), stop_reason: 'end_turn', usage };
    const before = { ...message, usage, content: content(size), stop_reason: null };
    for (const body of [behind, before, { ...behind, context_management: { edits: [] } }]) {
      for (const text of [JSON.stringify(body), JSON.stringify(body, null, 2) + '\n']) {
        expect(read(JSON_TYPE, text)).toEqual({ ...known, complete: true });
        const bytes = Buffer.from(text);
        const chunks = cutAt(bytes, [0.0001, 0.01, 0.3, 0.3, 0.31, 0.999]);
        expect(readChunks(JSON_TYPE, chunks)).toEqual({ ...known, complete: true });
      }
    }
  });

  it.each([1, 5_000])('of a body that was cut is what came before the cut (%d)', (size) => {
    const behind = JSON.stringify({ ...message, content: content(size), usage });
    expect(read(JSON_TYPE, behind.slice(0, -2))).toEqual(NOTHING);
    const before = JSON.stringify({ ...message, usage, content: content(size) });
    expect(read(JSON_TYPE, before.slice(0, -1))).toEqual(known);
  });

  it.each([
    '',
    '{}',
    '[]',
    'null',
    '"text"',
    '{"usage":null}',
    '<html></html>',
    '{"usage":{"input',
  ])('of %j is unknown', (text) => {
    expect(read(JSON_TYPE, text)).toEqual(NOTHING);
  });

  it('keeps a bounded part of a body of any size', () => {
    const reader = ANTHROPIC.openUsageReader(JSON_TYPE, '/v1/messages');
    const chunk = Buffer.alloc(65_536, 'x');
    reader.push(Buffer.from('{"usage":{"input_tokens":1,"output_tokens":2},"content":"'));
    const before = process.memoryUsage().arrayBuffers;
    for (let sent = 0; sent < 1024; sent++) reader.push(chunk);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1_000_000);
    reader.push(Buffer.from('"}'));
    expect(reader.end()).toMatchObject({ inputTokens: 1, outputTokens: 2, complete: true });
  });
});

describe('hostile answers', () => {
  it('give figures that are figures, and never throw', () => {
    fc.assert(
      fc.property(
        hostileBytes,
        cuts,
        fc.constantFrom(SSE, JSON_TYPE, ''),
        (bytes, places, type) => {
          const usage = readChunks(type, cutAt(bytes, places));
          expect(usage).toEqual(readChunks(type, [bytes]));
          for (const figure of [usage.inputTokens, usage.outputTokens, usage.cachedTokens]) {
            if (figure !== null) expect(Number.isSafeInteger(figure) && figure >= 0).toBe(true);
          }
          if (usage.complete) expect(usage.inputTokens).not.toBeNull();
        },
      ),
      { numRuns: 1000 },
    );
  });
});

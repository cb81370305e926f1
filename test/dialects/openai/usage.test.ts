import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { TokenUsage } from '../../../src/dialects/dialect.js';
import { cutAt, cuts, feed, hostileBytes } from '../chunks.js';
import { chunk, data, dialect, DONE, event, OPENAI, usageChunk } from './support.js';

const SSE = 'text/event-stream; charset=utf-8';
const JSON_TYPE = 'application/json';
/** More than the engine can write, although it reads it. */
const DEEP = '['.repeat(30_000) + ']'.repeat(30_000);
const NOTHING: TokenUsage = {
  inputTokens: null,
  cachedTokens: 0,
  outputTokens: null,
  relayedOutputTokens: 0,
  complete: false,
  failure: null,
};

function readChunks(contentType: string, chunks: readonly Buffer[], using = OPENAI): TokenUsage {
  const reader = using.openUsageReader(contentType, '/v1/chat/completions');
  feed(chunks, (bytes) => void reader.push(bytes));
  return reader.end();
}

const read = (contentType: string, text: string, using = OPENAI) =>
  readChunks(contentType, [Buffer.from(text)], using);
const readJson = (body: unknown, using = OPENAI) => read(JSON_TYPE, JSON.stringify(body), using);

/** Chat Completions' usage as the API reference shows it, with thinking and a cache hit. */
const CHAT_USAGE = {
  prompt_tokens: 2006,
  completion_tokens: 300,
  total_tokens: 2306,
  prompt_tokens_details: { cached_tokens: 1920, audio_tokens: 0 },
  completion_tokens_details: { reasoning_tokens: 128, accepted_prediction_tokens: 0 },
};
const RESPONSES_USAGE = {
  input_tokens: 36,
  input_tokens_details: { cached_tokens: 12, cache_write_tokens: 4 },
  output_tokens: 87,
  output_tokens_details: { reasoning_tokens: 50 },
  total_tokens: 123,
};
const CHAT_SAYS = { ...NOTHING, inputTokens: 2006, outputTokens: 300, complete: true };
const RESPONSES_SAYS = {
  ...NOTHING,
  inputTokens: 36,
  outputTokens: 87,
  complete: true,
};

const CHAT_STREAM = [
  data(chunk({ role: 'assistant', content: '' }, { usage: null })),
  data(chunk('Hello', { usage: null })),
  data(chunk(' wörld', { usage: null })),
  data(usageChunk(CHAT_USAGE)),
  DONE,
];
const RESPONSES_STREAM = [
  event('response.created', { response: { status: 'in_progress', usage: null, error: null } }),
  event('response.output_text.delta', { item_id: 'msg_1', delta: 'Hello wörld' }),
  event('response.output_text.done', { item_id: 'msg_1', text: 'Hello wörld' }),
  event('response.completed', {
    response: { status: 'completed', error: null, usage: RESPONSES_USAGE },
  }),
];

describe('usage of a JSON answer', () => {
  it.each<[string, object, Partial<TokenUsage>]>([
    ['Chat Completions', { object: 'chat.completion', usage: CHAT_USAGE }, CHAT_SAYS],
    [
      'Responses',
      { object: 'response', error: null, status: 'completed', usage: RESPONSES_USAGE },
      RESPONSES_SAYS,
    ],
    [
      'Embeddings, which generate nothing',
      { object: 'list', data: [], usage: { prompt_tokens: 8, total_tokens: 8 } },
      { inputTokens: 8, outputTokens: 0, complete: true },
    ],
    [
      'Gemini, whose thinking is in the total only',
      { usage: { prompt_tokens: 10, completion_tokens: 5, total_tokens: 115 } },
      { inputTokens: 10, outputTokens: 105, complete: true },
    ],
    [
      'a response in the background, which has only been queued',
      { object: 'response', status: 'queued', usage: null },
      {},
    ],
    ['no usage', { object: 'chat.completion' }, {}],
    ['the output left out', { usage: { prompt_tokens: 8 } }, { inputTokens: 8 }],
    ['nonsense', { usage: { prompt_tokens: -1, completion_tokens: '5' } }, {}],
    [
      'an error that came with 200',
      { error: { code: 429, message: 'Provider returned error' } },
      {
        failure: {
          status: 429,
          body: '{"error":{"code":429,"message":"Provider returned error"}}',
        },
      },
    ],
  ])('%s', (_what, body, expected) => {
    expect(readJson(body)).toEqual({ ...NOTHING, ...expected });
  });

  it('counts a cached prompt or not, as the provider’s limits do', () => {
    const groq = dialect({ cachedInput: 'free' });
    expect(readJson({ usage: CHAT_USAGE }, groq)).toEqual({
      ...CHAT_SAYS,
      inputTokens: 86,
      cachedTokens: 1920,
    });
    const more = {
      prompt_tokens: 5,
      completion_tokens: 1,
      prompt_tokens_details: { cached_tokens: 9 },
    };
    expect(readJson({ usage: more }, groq)).toMatchObject({ inputTokens: 0, cachedTokens: 5 });
  });

  it('is found behind a megabyte of vectors', () => {
    const body = {
      object: 'list',
      data: Array(200_000).fill(0.5),
      usage: { prompt_tokens: 8, total_tokens: 8 },
    };
    expect(readJson(body)).toMatchObject({ inputTokens: 8, outputTokens: 0, complete: true });
  });

  it('that breaks off is not final', () => {
    const text = JSON.stringify({ usage: CHAT_USAGE, object: 'chat.completion' });
    expect(read(JSON_TYPE, text.slice(0, -3))).toMatchObject({
      inputTokens: 2006,
      complete: false,
    });
  });
});

describe('usage of a stream', () => {
  it('of Chat Completions is that of its last chunk', () => {
    expect(read(SSE, CHAT_STREAM.join(''))).toEqual({ ...CHAT_SAYS, relayedOutputTokens: 3 });
  });

  it('that is told more than once has the largest input, for no part of it is given back', () => {
    const told = [
      usageChunk(CHAT_USAGE),
      usageChunk({ ...CHAT_USAGE, prompt_tokens: 6 }),
      '[DONE]',
    ];
    expect(read(SSE, told.map(data).join('')).inputTokens).toBe(CHAT_SAYS.inputTokens);
  });

  it('of Responses is that of its last event', () => {
    expect(read(SSE, RESPONSES_STREAM.join(''))).toEqual({
      ...RESPONSES_SAYS,
      relayedOutputTokens: 3,
    });
    const unnamed = RESPONSES_STREAM.join('').replaceAll(/^event: .*\n/gm, '');
    expect(read(SSE, unnamed)).toEqual(read(SSE, RESPONSES_STREAM.join('')));
  });

  it.each<[string, string, Partial<TokenUsage>]>([
    [
      'Groq, in a member of its own',
      data(chunk('Hi', { x_groq: { id: 'req_1', usage: CHAT_USAGE } })) + DONE,
      { ...CHAT_SAYS, relayedOutputTokens: 1 },
    ],
    [
      'Mistral and Gemini, with the last choice',
      data(chunk('Hi', { usage: CHAT_USAGE })) + DONE,
      { ...CHAT_SAYS, relayedOutputTokens: 1 },
    ],
    ['a server that ends without [DONE]', data(usageChunk(CHAT_USAGE)), CHAT_SAYS],
    [
      'a server that counts as it goes',
      data(chunk('a', { usage: { prompt_tokens: 5, completion_tokens: 1, total_tokens: 6 } })) +
        data(chunk('b', { usage: { prompt_tokens: 5, completion_tokens: 2, total_tokens: 7 } })),
      { inputTokens: 5, outputTokens: 2, relayedOutputTokens: 1 },
    ],
    [
      'an incomplete response',
      event('response.incomplete', {
        response: { status: 'incomplete', usage: RESPONSES_USAGE },
      }),
      RESPONSES_SAYS,
    ],
    [
      'tools, thinking and refusals, of which something was relayed',
      data(chunk({ tool_calls: [{ function: { arguments: '{"a":' } }] })) +
        data(chunk({ reasoning_content: 'hm, ' })) +
        data(chunk({ refusal: 'I can’t' })) +
        event('response.function_call_arguments.delta', { delta: '12345678' }) +
        event('response.output_audio.delta', { delta: 'AAAAAAAAAAAAAAAAAAAAAAAA' }),
      { relayedOutputTokens: 6 },
    ],
    [
      'what is heard, in a stream whose events have no names',
      data({ type: 'response.output_audio.delta', delta: 'AAAAAAAAAAAAAAAAAAAAAAAA' }),
      { relayedOutputTokens: 0 },
    ],
    ['a stream cut before its usage', CHAT_STREAM.slice(0, 3).join(''), { relayedOutputTokens: 3 }],
  ])('%s', (_what, stream, expected) => {
    expect(read(SSE, stream)).toEqual({ ...NOTHING, ...expected });
  });

  it('is found in a last event that repeats the instructions and all tools', () => {
    const instructions = 'x'.repeat(600_000);
    const last = event('response.completed', {
      response: { status: 'completed', instructions, usage: RESPONSES_USAGE },
    });
    expect(read(SSE, last)).toEqual(RESPONSES_SAYS);
  });

  it('does not depend on how the network cuts it', () => {
    for (const stream of [CHAT_STREAM, RESPONSES_STREAM]) {
      const bytes = Buffer.from(stream.join(''));
      const whole = readChunks(SSE, [bytes]);
      fc.assert(
        fc.property(cuts, (places) => {
          expect(readChunks(SSE, cutAt(bytes, places))).toEqual(whole);
        }),
      );
    }
  });

  it('of anything at all throws nothing', () => {
    fc.assert(
      fc.property(hostileBytes, fc.constantFrom(SSE, JSON_TYPE, ''), (bytes, type) => {
        const usage = readChunks(type, [bytes]);
        expect(usage.inputTokens ?? 0).toBeGreaterThanOrEqual(0);
      }),
    );
  });

  it.each([
    ['a code that is no text', '{"code":{"toString":1},"type":"rate_limit_error"}'],
    ['a code as deep as a well', `{"code":${DEEP},"type":"rate_limit_error"}`],
    ['details as deep as a well', `{"code":"rate_limit_exceeded","details":${DEEP}}`],
  ])('whose fault has %s tells the fault all the same', (_name, error) => {
    const body = `{"error":${error}}`;
    expect(read(JSON_TYPE, body).failure?.status).toBe(429);
    expect(read(SSE, `data: ${body}\n\n`).failure?.status).toBe(429);
  });
});

describe('a stream that fails after its 200', () => {
  it.each<[string, string, number]>([
    [
      'a ChatGPT plan that is used up',
      event('response.failed', {
        response: {
          status: 'failed',
          error: { code: 'usage_limit_reached', message: 'The usage limit has been reached' },
        },
      }),
      429,
    ],
    [
      'Responses, rate limited',
      event('response.failed', {
        response: {
          status: 'failed',
          usage: null,
          error: { code: 'rate_limit_exceeded', message: 'Rate limit reached for gpt-5.1' },
        },
      }),
      429,
    ],
    [
      'Responses, a fault of the server',
      event('response.failed', {
        response: { status: 'failed', error: { code: 'server_error', message: 'No.' } },
      }),
      0,
    ],
    [
      'Responses, overloaded',
      event('response.failed', {
        response: { status: 'failed', error: { code: 'server_is_overloaded', message: 'No.' } },
      }),
      503,
    ],
    [
      'Responses, an event of its own',
      event('error', { code: 'rate_limit_exceeded', message: 'No.', param: null }),
      429,
    ],
    [
      'the same with the error inside',
      event('error', { error: { type: 'tokens', code: 'rate_limit_exceeded', message: 'No.' } }),
      429,
    ],
    ['Chat Completions', data({ error: { message: 'No.', type: 'server_error' } }), 0],
    [
      'an error named by its event alone',
      'event: error\ndata: {"message":"No.","code":"overloaded"}\n\n',
      503,
    ],
    [
      'the same, with the kind of error for its type',
      'event: error\ndata: {"message":"No.","type":"rate_limit_error"}\n\n',
      429,
    ],
    [
      'OpenRouter, whose code is a status',
      data({
        id: 'gen-1',
        error: { code: 429, message: 'Rate limit exceeded' },
        choices: [{ index: 0, delta: { content: '' }, finish_reason: 'error' }],
      }),
      429,
    ],
    [
      'OpenRouter, the provider gone',
      data({
        error: { code: 502, message: 'Provider disconnected unexpectedly' },
        choices: [{ index: 0, delta: { content: '' }, finish_reason: 'error' }],
      }),
      0,
    ],
    ['no money left', data({ error: { code: 'insufficient_quota' } }), 429],
    ['an account that is closed', data({ error: { type: 'billing_not_active' } }), 429],
    ['OpenRouter, no credits left', data({ error: { code: 402, message: 'Add credits' } }), 402],
  ])('%s', (_what, stream, status) => {
    const { failure } = read(SSE, CHAT_STREAM.slice(0, 2).join('') + stream);
    expect(failure?.status).toBe(status);
  });

  it('tells its error as the body of a refusal would', () => {
    const error = { code: 'rate_limit_exceeded', message: 'Please try again in 12s.' };
    for (const stream of [
      event('response.failed', { response: { status: 'failed', error } }),
      event('error', { error }),
      `event: error\ndata: ${JSON.stringify(error)}\n\n`,
      data({ error: { message: 'No.', error } }),
    ]) {
      expect(read(SSE, stream).failure?.body).toBe(JSON.stringify({ error }));
    }
  });

  it('is not seen in one that does not', () => {
    expect(read(SSE, data(chunk('x', { error: null })) + DONE).failure).toBeNull();
  });
});

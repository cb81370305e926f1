import Anthropic from '@anthropic-ai/sdk';
import { describe, expect, it } from 'vitest';
import { ANTHROPIC } from '../../../src/dialects/anthropic/anthropic-dialect.js';
import type { LocalProblem } from '../../../src/dialects/dialect.js';
import { headerFields } from '../../../src/dialects/header-fields.js';

describe('what is metered', () => {
  it.each([
    ['POST', '/v1/messages'],
    // Where the upstream takes it for the same, it spends the same.
    ['POST', '/v1/messages/'],
    ['POST', '//v1/messages'],
    ['POST', '/V1/Messages'],
    ['POST', '/v1/chat/completions'],
    ['POST', '/v1/complete'],
    // It may be read so.
    ['POST', null],
  ])('%s %s', (method, path) => {
    expect(ANTHROPIC.isMetered(method, path)).toBe(true);
  });

  it.each([
    ['GET', '/v1/messages'],
    ['post', '/v1/messages'],
    ['POST', '/v1/messages/count_tokens'],
    ['POST', '/v1/messages/batches'],
    ['POST', '/v1/messagesx'],
    ['POST', '/x/v1/messages'],
    ['GET', '/v1/models'],
    ['GET', null],
    ['HEAD', '/api/hello'],
    ['POST', '/'],
    ['POST', ''],
  ])('not %s %s', (method, path) => {
    expect(ANTHROPIC.isMetered(method, path)).toBe(false);
  });
});

describe('a client of OpenAI’s at the layer for it', () => {
  const CHAT = '/v1/chat/completions';
  const message = (role: string, content: string) => ({ role, content });
  const facts = (question: string) => {
    const messages = [message('system', 'You help.'), message('user', question)];
    const body = Buffer.from(JSON.stringify({ model: 'claude-x', messages }));
    return ANTHROPIC.readRequest(headerFields({}), body, CHAT);
  };

  it('has conversations of its own, though all begin with one system message', () => {
    expect(facts('One?').model).toBe('claude-x');
    expect(facts('One?')).toEqual(facts('One?'));
    expect(facts('One?').session).not.toBe(facts('Another?').session);
  });

  it('has its usage read, of a body and of a stream', () => {
    const usage = { prompt_tokens: 120, completion_tokens: 30, total_tokens: 150 };
    const whole = { inputTokens: 120, outputTokens: 30, complete: true };
    const body = ANTHROPIC.openUsageReader('application/json', `${CHAT}?beta=true`);
    body.push(Buffer.from(JSON.stringify({ choices: [], usage })));
    expect(body.end()).toMatchObject(whole);
    const stream = ANTHROPIC.openUsageReader('text/event-stream', CHAT);
    const events = [{ choices: [{ delta: { content: 'four by four' } }] }, { choices: [], usage }];
    for (const event of events) stream.push(Buffer.from(`data: ${JSON.stringify(event)}\n\n`));
    stream.push(Buffer.from('data: [DONE]\n\n'));
    expect(stream.end()).toMatchObject({ ...whole, relayedOutputTokens: 3 });
  });
});

describe('the line that points an agent at the proxy', () => {
  it('is Claude Code’s variable', () => {
    expect(ANTHROPIC.pointer('http://127.0.0.1:8787', new URL('https://api.anthropic.com'))).toBe(
      'ANTHROPIC_BASE_URL=http://127.0.0.1:8787',
    );
  });
});

describe('a local answer', () => {
  const cases: [LocalProblem['kind'], number, string][] = [
    ['rate-limited', 429, 'rate_limit_error'],
    ['terminal', 429, 'billing_error'],
    ['overloaded', 529, 'overloaded_error'],
    ['state-unavailable', 503, 'api_error'],
    ['bad-request', 400, 'invalid_request_error'],
    ['unmet-expectation', 417, 'invalid_request_error'],
    ['too-large', 413, 'request_too_large'],
    ['upstream-unreachable', 502, 'api_error'],
    ['upstream-silent', 504, 'timeout_error'],
    ['not-implemented', 501, 'api_error'],
    ['loop', 508, 'api_error'],
  ];
  const message = 'Paused: “quota”, about 7 s.\n';

  it.each(cases)('for %s has status %d and type %s', (kind, status, type) => {
    const answer = ANTHROPIC.localAnswer({ kind, message, requestId: 'req_tg_1' });
    expect(answer.status).toBe(status);
    expect(answer.contentType).toBe('application/json');
    expect(answer.headers).toEqual({ 'request-id': 'req_tg_1' });
    expect(JSON.parse(answer.body)).toEqual({
      type: 'error',
      error: { type, message },
      request_id: 'req_tg_1',
    });
  });

  it.each(cases)('for %s is an error that the SDK understands', async (kind, status, type) => {
    const { body, contentType, headers } = ANTHROPIC.localAnswer({
      kind,
      message,
      requestId: 'req_1',
    });
    const client = new Anthropic({
      apiKey: 'none',
      maxRetries: 0,
      fetch: async () =>
        new Response(body, { status, headers: { ...headers, 'content-type': contentType } }),
    });
    const error: unknown = await client.messages
      .create({ model: 'm', max_tokens: 1, messages: [{ role: 'user', content: 'hi' }] })
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(Anthropic.APIError);
    expect(error).toMatchObject({ status, type, requestID: 'req_1' });
  });
});

describe('header fields', () => {
  it('join repeated lines, and know only what the message has', () => {
    const headers = headerFields({ a: '1', b: ['2', '3'], c: undefined });
    expect(headers.get('a')).toBe('1');
    expect(headers.get('b')).toBe('2, 3');
    expect(headers.get('c')).toBeUndefined();
    expect(headers.get('constructor')).toBeUndefined();
    expect(headers.names('')).toEqual(['a', 'b']);
    expect(headers.names('b')).toEqual(['b']);
  });
});

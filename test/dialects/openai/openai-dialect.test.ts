import OpenAI from 'openai';
import { describe, expect, it } from 'vitest';
import type { LocalProblem } from '../../../src/dialects/dialect.js';
import { OPENAI } from './support.js';

describe('the line that points an agent at the proxy', () => {
  it.each([
    ['https://api.openai.com', 'OPENAI_BASE_URL=http://127.0.0.1:8787/v1'],
    ['https://api.groq.com/openai', 'OPENAI_BASE_URL=http://127.0.0.1:8787/v1'],
    ['https://llm.example.com/v1', 'OPENAI_BASE_URL=http://127.0.0.1:8787'],
    ['https://tide.openai.azure.com', 'AZURE_OPENAI_ENDPOINT=http://127.0.0.1:8787'],
    [
      'https://generativelanguage.googleapis.com',
      'OPENAI_BASE_URL=http://127.0.0.1:8787/v1beta/openai',
    ],
    [
      'https://generativelanguage.googleapis.com/v1beta/openai',
      'OPENAI_BASE_URL=http://127.0.0.1:8787',
    ],
  ])('%s', (upstream, line) => {
    expect(OPENAI.pointer('http://127.0.0.1:8787', new URL(upstream))).toBe(line);
  });
});

describe('a local answer', () => {
  const cases: [LocalProblem['kind'], number, string, string | null][] = [
    ['rate-limited', 429, 'tokens', 'rate_limit_exceeded'],
    ['terminal', 429, 'insufficient_quota', 'insufficient_quota'],
    ['overloaded', 503, 'server_error', 'overloaded'],
    ['state-unavailable', 503, 'server_error', null],
    ['bad-request', 400, 'invalid_request_error', null],
    ['unmet-expectation', 417, 'invalid_request_error', null],
    ['too-large', 413, 'invalid_request_error', 'request_too_large'],
    ['upstream-unreachable', 502, 'server_error', 'upstream_unreachable'],
    ['upstream-silent', 504, 'server_error', 'upstream_timeout'],
    ['not-implemented', 501, 'server_error', null],
    ['loop', 508, 'server_error', null],
  ];
  const message = 'Paused: “quota”, about 7 s.\n';

  it.each(cases)(
    'for %s is an error that the SDK understands',
    async (kind, status, type, code) => {
      const { body, contentType, headers } = OPENAI.localAnswer({
        kind,
        message,
        requestId: 'tg_1',
      });
      expect(JSON.parse(body)).toEqual({ error: { message, type, param: null, code } });
      const client = new OpenAI({
        apiKey: 'none',
        maxRetries: 0,
        fetch: async () =>
          new Response(body, { status, headers: { ...headers, 'content-type': contentType } }),
      });
      const error: unknown = await client.responses
        .create({ model: 'm', input: 'hi' })
        .catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(OpenAI.APIError);
      expect(error).toMatchObject({ status, type, code, requestID: 'tg_1' });
    },
  );
});

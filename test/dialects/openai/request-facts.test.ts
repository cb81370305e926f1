import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { headerFields } from '../../../src/dialects/header-fields.js';
import { hostileBytes } from '../chunks.js';
import { NO_HEADERS, OPENAI } from './support.js';

const CHAT = '/v1/chat/completions';

function read(body: unknown, headers: Record<string, string> = {}, path = CHAT) {
  const bytes = Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body));
  return OPENAI.readRequest(headerFields(headers), bytes, path);
}

const message = (role: string, content: unknown) => ({ role, content });
const chat = (...messages: readonly object[]) => ({ model: 'gpt-test', messages });

describe('what is metered', () => {
  it.each([
    '/v1/chat/completions',
    '/v1/completions',
    '/v1/responses',
    '/v1/responses/compact',
    '/v1/embeddings',
    // Azure, old and new.
    '/openai/deployments/gpt-4o/chat/completions',
    '/openai/deployments/ada/embeddings',
    '/openai/v1/responses',
    '/v1beta/openai/chat/completions',
    '/api/v1/chat/completions',
    '/backend-api/codex/responses',
    '/v1/fim/completions',
    '/chat/completions',
    // A lenient server reads these as the same.
    '//v1//chat//completions/',
    '/V1/Chat/Completions',
    // One that may be any of them.
    null,
  ])('POST %s', (path) => {
    expect(OPENAI.isMetered('POST', path)).toBe(true);
  });

  it.each([
    ['GET', '/v1/chat/completions'],
    ['POST', '/v1/chat/completions/chatcmpl-1'],
    ['POST', '/v1/responses/resp_1/cancel'],
    ['POST', '/v1/responses/input_tokens'],
    ['POST', '/v1/batches'],
    ['POST', '/v1/files'],
    ['POST', '/v1/moderations'],
    ['GET', '/v1/models'],
    ['GET', null],
    ['POST', '/v1/xresponses'],
    ['POST', '/'],
    ['POST', ''],
  ])('not %s %s', (method, path) => {
    expect(OPENAI.isMetered(method, path)).toBe(false);
  });
});

describe('the model', () => {
  it('is clean where the path names it, too', () => {
    // As the proxy hands a path over: its escapes are undone.
    const path = '/openai/deployments/my\0gpt/chat/completions';
    expect(read({ messages: [] }, {}, path).model).toBe('my\ufffdgpt');
  });

  it('is the body’s, else Azure’s deployment', () => {
    const azure = '/openai/deployments/my-gpt/chat/completions';
    expect(read({ model: 'gpt-test' }, {}, azure).model).toBe('gpt-test');
    expect(read({ messages: [] }, {}, azure).model).toBe('my-gpt');
    expect(read({ messages: [] }).model).toBe('');
  });

  it('is not read from an encoded body', () => {
    const body = gzipSync(JSON.stringify({ model: 'gpt-test' }));
    expect(read(body, { 'content-encoding': 'gzip' })).toEqual({ model: '', session: '' });
  });
});

describe('the session', () => {
  const system = message('system', 'You are helpful.');
  const hello = message('user', 'Hello');

  it('is the same as a conversation grows', () => {
    const first = read(chat(system, hello)).session;
    const second = read(chat(system, hello, message('assistant', 'Hi.'), message('user', 'Bye')));
    expect(first).toMatch(/^[\da-z]{1,7}\.[\da-z]+$/);
    expect(second.session).toBe(first);
  });

  it('differs where the first words of the user do, below the same system prompt', () => {
    const developer = message('developer', 'Be brief.');
    const one = read(chat(system, developer, hello)).session;
    const other = read(chat(system, developer, message('user', 'Good morning'))).session;
    expect(one).not.toBe('');
    expect(other).not.toBe(one);
  });

  it('is none without a message of the user’s', () => {
    expect(read(chat()).session).toBe('');
    expect(read(chat(system)).session).toBe('');
    expect(read(chat(...Array(40).fill(system), hello)).session).toBe('');
  });

  it('of Responses is told by its instructions and input, list or text', () => {
    const responses = (input: unknown, instructions = 'Be brief.') =>
      read({ model: 'gpt-test', instructions, input }, {}, '/v1/responses').session;
    const turn = [{ role: 'user', content: [{ type: 'input_text', text: 'Hello' }] }];
    expect(responses(turn)).toBe(responses([...turn, { type: 'message', content: 'Hi' }]));
    expect(responses('Hello')).not.toBe('');
    expect(responses('Hello')).not.toBe(responses('Bye'));
    expect(responses('Hello')).not.toBe(responses('Hello', 'Be long.'));
  });

  it('is the one that a client names', () => {
    const named = { 'session-id': 'c0ffee' };
    expect(read(chat(hello), named).session).toBe('c0ffee');
    expect(read(chat(hello), { session_id: 'c0ffee' }).session).toBe('c0ffee');
    expect(read(chat(hello), { 'x-session-id': 'y'.repeat(500) }).session).toMatch(
      /^[\da-z]{1,7}\.[\da-z]+$/,
    );
  });

  it('is not the person or the prompt, which many conversations share', () => {
    const with_ = (more: object, text: string) =>
      read({ ...more, ...chat(message('user', text)) }).session;
    const more = { user: 'u', safety_identifier: 's', prompt_cache_key: 'k' };
    expect(with_(more, 'a')).not.toBe(with_(more, 'b'));
  });
});

it('nothing that clients send makes it throw', () => {
  fc.assert(
    fc.property(hostileBytes, (bytes) => {
      const { model, session } = OPENAI.readRequest(NO_HEADERS, bytes, CHAT);
      expect(model.length).toBeLessThanOrEqual(100);
      expect(session.length).toBeLessThanOrEqual(200);
    }),
  );
});

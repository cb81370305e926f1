import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ANTHROPIC } from '../../../src/dialects/anthropic/anthropic-dialect.js';
import { readRequest } from '../../../src/dialects/anthropic/request-facts.js';
import type { RequestFacts } from '../../../src/dialects/dialect.js';
import { headerFields, type HeaderRecord } from '../../../src/dialects/header-fields.js';
import { hostileBytes } from '../chunks.js';

const MODEL = 'claude-opus-5-5';

function read(body: unknown, headers: HeaderRecord = {}): RequestFacts {
  const bytes = Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body));
  return ANTHROPIC.readRequest(headerFields(headers), bytes, '/v1/messages');
}

const user = (text: string) => ({ role: 'user', content: [{ type: 'text', text }] });
const reply = (text: string) => ({ role: 'assistant', content: [{ type: 'text', text }] });

describe('the model', () => {
  const decoys = [
    user('{"model":"no"} "model":"no"'),
    {
      role: 'assistant',
      content: [{ type: 'tool_use', name: 'Task', input: { model: 'sonnet' } }],
    },
  ];
  const tools = [{ name: 't', input_schema: { properties: { model: { type: 'string' } } } }];

  it.each([
    [
      'first, as TypeScript clients write it',
      { model: MODEL, max_tokens: 1, messages: decoys, tools },
    ],
    [
      'behind the messages, as the Python SDK does',
      { max_tokens: 1, messages: decoys, model: MODEL, tools },
    ],
    ['last', { tools, messages: decoys, model: MODEL }],
    ['alone', { model: MODEL }],
  ])('is found %s', (_, body) => {
    expect(read(body).model).toBe(MODEL);
    expect(read(Buffer.from(JSON.stringify(body, null, 4))).model).toBe(MODEL);
  });

  it.each([
    ['there is none', { messages: decoys, tools }],
    ['it is no text', { model: { name: MODEL }, messages: decoys }],
    ['it is nested only', { metadata: { model: MODEL } }],
    ['the body is an array', [{ model: MODEL }]],
  ])('is empty where %s', (_, body) => {
    expect(read(body).model).toBe('');
  });

  it('is found behind megabytes of messages, and is not taken from within them', () => {
    const messages = Array.from({ length: 2000 }, (_, at) =>
      user(`${at} "model":"no" `.repeat(40)),
    );
    const body = { max_tokens: 1, messages, model: MODEL, system: 's'.repeat(50_000), tools };
    expect(read(body).model).toBe(MODEL);
    expect(read({ messages: [...messages, ...decoys], tools }).model).toBe('');
  });

  it('is unescaped, and cut at 100 characters', () => {
    expect(read(Buffer.from('{"model":"a\\u002Fb"}')).model).toBe('a/b');
    expect(read({ model: 'm'.repeat(500) }).model).toBe('m'.repeat(100));
    expect(read({ model: 'm'.repeat(5000) }).model).toBe('');
  });

  it.each([
    ['an escaped NUL', '{"model":"claude\\u0000x"}', 'claude\ufffdx'],
    ['a bare NUL, which is no JSON', '{"model":"claude\u0000x"}', 'claude\ufffdx'],
    ['half a surrogate pair', '{"model":"claude\\ud83d"}', 'claude\ufffd'],
    ['a line’s end', '{"model":"claude\\nx"}', 'claude\ufffdx'],
    ['an emoji on the cut', `{"model":"${'m'.repeat(99)}😀"}`, 'm'.repeat(99)],
  ])('is a name that can be kept and shown anywhere: %s', (_, body, expected) => {
    expect(read(Buffer.from(body)).model).toBe(expected);
  });

  it('is the right one or none, at any reach and in any order', () => {
    const members = fc.shuffledSubarray([
      ['model', MODEL],
      ['messages', decoys],
      ['tools', tools],
      ['system', 'The "model" is: {"model":"no"}'],
      ['metadata', { model: 'no' }],
      ['max_tokens', 1],
    ] as const);
    const reach = fc.record({
      headBytes: fc.integer({ min: 1, max: 500 }),
      tailBytes: fc.nat(500),
    });
    fc.assert(
      fc.property(members, reach, (entries, within) => {
        const body = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
        const expected = entries.some(([key]) => key === 'model') ? MODEL : '';
        const { model } = readRequest(headerFields({}), body, within);
        const reached = body.length <= Math.max(within.headBytes, within.tailBytes);
        expect(reached ? [expected] : [expected, '']).toContain(model);
      }),
      { numRuns: 1000 },
    );
  });
});

describe('the session', () => {
  const id = '2f0c5a52-5e3b-4f0c-9a57-0c8f1d1b7a11';

  it('is the client’s own where it names one, with the agent’s within it', () => {
    const body = { model: MODEL, messages: [user('hi')] };
    expect(read(body, { 'x-claude-code-session-id': id })).toEqual({ model: MODEL, session: id });
    const agent = { 'x-claude-code-session-id': id, 'x-claude-code-agent-id': 'a1' };
    expect(read(body, agent).session).toBe(`${id}/a1`);
    expect(read(body, { 'x-claude-code-agent-id': 'a1' }).session).toBe(read(body).session);
    const long = read(body, { 'x-claude-code-session-id': 'x'.repeat(10_000) }).session;
    expect(long).toMatch(/^[\da-z]{1,7}\.[\da-z]+$/);
  });

  it.each([
    [
      'model first',
      (messages: unknown) => ({ model: MODEL, max_tokens: 9, system: 's', messages }),
    ],
    [
      'messages first',
      (messages: unknown) => ({ max_tokens: 9, messages, model: MODEL, system: 's' }),
    ],
  ])('stays the same as a conversation grows beyond any reach, with %s', (_, body) => {
    const { session } = read(body([user('Fix the build.')]));
    expect(session).toMatch(/^[\da-z]{1,7}\.[\da-z]+$/);
    const messages = [user('Fix the build.')];
    for (let turn = 0; turn < 8; turn++) {
      messages.push(reply('x'.repeat(4 ** turn)), user('y'.repeat(4 ** turn * 8)));
      expect(read(body(messages)).session).toBe(session);
    }
    expect(JSON.stringify(body(messages)).length).toBeGreaterThan(150_000);
  });

  it('stays the same while the cache mark moves on from the first message', () => {
    const marked = {
      role: 'user',
      content: [{ type: 'text', text: 'Fix the build.', cache_control: { type: 'ephemeral' } }],
    };
    const first = read({ model: MODEL, messages: [marked] }).session;
    expect(read({ model: MODEL, messages: [user('Fix the build.'), marked] }).session).toBe(first);
  });

  it('does not know a system prompt behind the messages, which one day lies out of reach', () => {
    const messages = [user('a')];
    const bodies = [{ messages }, { messages, system: 'You are terse.' }];
    const [without, behind] = bodies.map((body) => read({ ...body, model: MODEL }).session);
    expect(behind).toBe(without);
  });

  it('differs between conversations', () => {
    const bodies = [
      { model: MODEL, messages: [user('a')] },
      { model: MODEL, messages: [user('b')] },
      { model: 'claude-haiku-4-5', messages: [user('a')] },
      { model: MODEL, system: 'You are terse.', messages: [user('a')] },
      { model: MODEL, system: [{ type: 'text', text: 'You are kind.' }], messages: [user('a')] },
      { model: MODEL, messages: [user('a'.repeat(100_000))] },
      { model: MODEL, messages: [user('a'.repeat(100_000) + 'b')] },
      { model: MODEL, messages: [{ role: 'user', content: 'ab' }] },
      {
        model: MODEL,
        messages: [{ role: 'user', content: [user('a').content[0], user('b').content[0]] }],
      },
    ];
    expect(new Set(bodies.map((body) => read(body).session)).size).toBe(bodies.length);
  });

  it('is empty where two conversations could not be told apart', () => {
    // The first message ends beyond reach: these two begin alike for a quarter of a megabyte.
    expect(read({ model: MODEL, messages: [user('a'.repeat(300_000))] })).toEqual({
      model: MODEL,
      session: '',
    });
    expect(read({ model: MODEL, messages: [] }).session).toBe('');
    expect(read({ model: MODEL, messages: [{ role: 'user', content: '' }] }).session).toBe('');
    expect(read({ model: MODEL, messages: 'hi' }).session).toBe('');
    expect(read({ model: MODEL }).session).toBe('');
  });
});

describe('a body that can’t be read', () => {
  it('gives no model, and a session from the headers only', () => {
    const body = gzipSync(JSON.stringify({ model: MODEL, messages: [user('hi')] }));
    const headers = { 'content-encoding': 'gzip' };
    expect(read(body, headers)).toEqual({ model: '', session: '' });
    expect(read(body, { ...headers, 'x-claude-code-session-id': 's' })).toEqual({
      model: '',
      session: 's',
    });
    expect(read(body)).toEqual({ model: '', session: '' });
    expect(read({ model: MODEL }, { 'content-encoding': 'identity' }).model).toBe(MODEL);
  });

  it('never makes it throw', () => {
    const reach = fc.record({ headBytes: fc.nat(200), tailBytes: fc.nat(200) });
    fc.assert(
      fc.property(hostileBytes, reach, (bytes, within) => {
        for (const prefix of ['', '{', '{"messages":[{"content":"', '{"system":']) {
          const body = Buffer.concat([Buffer.from(prefix), bytes]);
          const facts = readRequest(headerFields({}), body, within);
          expect(facts.model.length).toBeLessThanOrEqual(100);
          expect(facts.session).toMatch(/^([\da-z]{1,7}\.[\da-z]+)?$/);
        }
      }),
      { numRuns: 1000 },
    );
  });

  it('costs little, however large it is and whatever it holds', () => {
    const size = 32 * 1024 * 1024;
    const unit = ['{', '"', '\\"', '"model":', '{"model":"x"},', '{"model":{'];
    for (const text of unit) {
      const body = Buffer.alloc(size, text);
      const prefixed = Buffer.concat([Buffer.from('{"messages":['), body]);
      // Measured: a twentieth of it, and less.
      expect(leastTime(() => [read(body), read(prefixed)])).toBeLessThan(
        leastTime(() => walk(body)) / 2,
      );
    }
  });
});

/** Of several runs, in the processor time of this thread: others want the processor as well. */
function leastTime(run: () => unknown): number {
  const times = Array.from({ length: 5 }, () => {
    const before = process.threadCpuUsage();
    run();
    const { user, system } = process.threadCpuUsage(before);
    return user + system;
  });
  return Math.min(...times);
}

/** Looks at each byte. */
function walk(body: Buffer): number {
  let sum = 0;
  for (let at = 0; at < body.length; at += 1) sum += body[at] as number;
  return sum;
}

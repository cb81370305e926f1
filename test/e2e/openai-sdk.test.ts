import OpenAI, { APIError, APIUserAbortError } from 'openai';
import { afterEach, describe, expect, it } from 'vitest';
import { STREAM_HEADERS, type Answer } from '../support/fake-upstream.js';
import { useGateway } from '../support/gateway.js';
import {
  asJson,
  completionEvents,
  jsonCompletion,
  openAiError,
  streamCompletion,
  streamResponse,
} from '../support/openai-upstream.js';
import { until } from '../support/until.js';

const gateway = useGateway({ TIDEGATE_DIALECT: 'openai', TIDEGATE_BACKOFF: '1s' });
afterEach(() => gateway.clearCooldown());

const clientOf = (origin: string, maxRetries = 0) =>
  new OpenAI({ apiKey: 'sk-test', baseURL: `${origin}/v1`, maxRetries });
const through = (maxRetries?: number) => clientOf(gateway.tidegate.proxyUrl, maxRetries);

const PROMPT = { model: 'gpt-test', messages: [{ role: 'user' as const, content: 'Hello' }] };
const ASKING = { ...PROMPT, stream: true as const, stream_options: { include_usage: true } };
const RESPONSES_USAGE = {
  input_tokens: 30,
  input_tokens_details: { cached_tokens: 20 },
  output_tokens: 12,
  output_tokens_details: { reasoning_tokens: 4 },
  total_tokens: 42,
};

async function collect<Part>(stream: AsyncIterable<Part>): Promise<readonly Part[]> {
  const parts: Part[] = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

/** Whatever it comes to, as a value that can be compared. */
async function outcomeOf(use: (client: OpenAI) => Promise<unknown>, client: OpenAI) {
  try {
    return { value: await use(client) };
  } catch (error) {
    if (!(error instanceof APIError)) return { error: String(error) };
    const { status, error: body, requestID, message, constructor } = error;
    return { kind: constructor.name, status, body, requestID, message };
  }
}

describe("OpenAI's own client finds through Tidegate what it finds without", () => {
  const brokenOff: Answer = (_request, response) => {
    response.writeHead(200, STREAM_HEADERS);
    response.write(completionEvents({}, true).slice(0, 3).join(''));
    setImmediate(() => response.destroy());
  };
  const failing: Answer = (_request, response) => {
    const error = { message: 'No.', type: 'server_error', param: null, code: null };
    const events = completionEvents({}, true).slice(0, 3).join('');
    response.writeHead(200, STREAM_HEADERS);
    response.end(`${events}data: ${JSON.stringify({ error })}\n\n`);
  };
  const chat = (client: OpenAI) => client.chat.completions.create(PROMPT);
  const stream = async (client: OpenAI) => collect(await client.chat.completions.create(ASKING));
  const cases: readonly [string, Answer, (client: OpenAI) => Promise<unknown>][] = [
    ['chat', jsonCompletion(), chat],
    ['chat, streamed with usage', streamCompletion({}, 50), stream],
    [
      'responses',
      asJson(200, { id: 'resp_1', object: 'response', output: [], usage: RESPONSES_USAGE }),
      (client) => client.responses.create({ model: 'gpt-test', input: 'Hello' }),
    ],
    [
      'responses, streamed',
      streamResponse(RESPONSES_USAGE),
      (client) => client.responses.stream({ model: 'gpt-test', input: 'Hello' }).finalResponse(),
    ],
    [
      'embeddings',
      asJson(200, {
        object: 'list',
        data: [{ object: 'embedding', index: 0, embedding: 'AACAPwAAAEA=' }],
        usage: { prompt_tokens: 2, total_tokens: 2 },
      }),
      (client) => client.embeddings.create({ model: 'e', input: 'Hello' }),
    ],
    [
      'models',
      asJson(200, { object: 'list', data: [{ id: 'gpt-test', object: 'model' }] }),
      async (client) => (await client.models.list()).data,
    ],
    ['400', openAiError(400, 'invalid_request_error'), chat],
    ['401', openAiError(401, 'invalid_request_error', 'invalid_api_key'), chat],
    ['404', openAiError(404, 'invalid_request_error', 'model_not_found'), chat],
    ['429', openAiError(429, 'tokens', 'rate_limit_exceeded'), chat],
    ['429 for want of money', openAiError(429, 'insufficient_quota', 'insufficient_quota'), chat],
    ['500', openAiError(500, 'server_error'), stream],
    ['503', openAiError(503, 'server_error'), stream],
    ['a stream that fails', failing, stream],
    ['a stream that breaks off', brokenOff, stream],
  ];

  it.each(cases)('%s', async (_what, answer, use) => {
    gateway.upstream.answer = answer;
    const direct = await outcomeOf(use, clientOf(gateway.upstream.url));
    expect(JSON.stringify(direct)).not.toContain('Connection error');
    const outcome = await outcomeOf(use, through());
    expect(outcome).toEqual(direct);
    const [plain, proxied] = gateway.upstream.seen;
    expect(proxied!.body.equals(plain!.body)).toBe(true);
    const { via: _via, host: _host, ...headers } = proxied!.headers;
    const { host: _other, ...expected } = plain!.headers;
    expect(headers).toEqual(expected);
  });

  it('chat, streamed without usage, which Tidegate asks for and takes out again', async () => {
    gateway.upstream.answer = streamCompletion({}, 50);
    const use = async (client: OpenAI) =>
      collect(await client.chat.completions.create({ ...PROMPT, stream: true }));
    const direct = await use(clientOf(gateway.upstream.url));
    const proxied = await use(through());
    // What is left of it is the null that the API puts into every other chunk then.
    expect(proxied.every(({ usage }) => usage === null)).toBe(true);
    expect(proxied.map(({ usage: _usage, ...chunk }) => chunk)).toEqual(direct);
    const [plain, asked] = gateway.upstream.seen.map(({ body }) => body.toString());
    expect(asked).toBe(
      plain!.replace('"stream":true', '"stream":true,"stream_options":{"include_usage":true}'),
    );
  });
});

describe('what it costs', () => {
  const create = (client: OpenAI) => client.chat.completions.create(PROMPT);
  const stream = async (client: OpenAI) =>
    collect(await client.chat.completions.create({ ...PROMPT, stream: true }));
  const asking = async (client: OpenAI) => collect(await client.chat.completions.create(ASKING));
  const responses = (client: OpenAI) =>
    client.responses.stream({ model: 'gpt-test', input: 'Hello' }).finalResponse();
  const cost = { prompt: 700, completion: 77 };

  it.each<[string, Answer, (client: OpenAI) => Promise<unknown>, number]>([
    ['chat', jsonCompletion(cost), create, 777],
    ['chat, streamed', streamCompletion(cost), stream, 777],
    ['chat, streamed with usage', streamCompletion(cost), asking, 777],
    ['responses, the cached prompt counted', streamResponse(RESPONSES_USAGE), responses, 42],
  ])('%s', async (_what, answer, use, tokens) => {
    const before = await gateway.settledUse();
    gateway.upstream.answer = answer;
    await use(through());
    await gateway.charges(before, tokens);
  });

  it('a stream that its client aborts: upstream too, charged by what was relayed', async () => {
    const before = await gateway.settledUse();
    gateway.upstream.answer = (_request, response) => {
      const events = completionEvents({}, true, 400).slice(0, -3);
      response.writeHead(200, STREAM_HEADERS).write(events.join(''));
    };
    const controller = new AbortController();
    const aborted = through().chat.completions.create(
      { ...PROMPT, stream: true },
      { signal: controller.signal },
    );
    let text = '';
    for await (const { choices } of await aborted) {
      text += choices[0]?.delta.content ?? '';
      if (text.includes('word399')) controller.abort();
    }
    await until(() => gateway.upstream.aborted === 1, 1_000);
    const charged = (await gateway.settledUse()) - before;
    expect(charged).toBeGreaterThan(text.length / 4);
    const another = through().chat.completions.create(PROMPT, { signal: AbortSignal.abort() });
    await expect(another).rejects.toBeInstanceOf(APIUserAbortError);
  });
});

describe("OpenAI's own client", () => {
  const create = (retries?: number) => through(retries).chat.completions.create(PROMPT);
  const caught = (promise: Promise<unknown>) => promise.catch((reason: unknown) => reason);

  it('sees a local refusal as the API error that it is', async () => {
    gateway.upstream.answer = asJson(
      429,
      { error: { message: 'Slow.', type: 'tokens', param: null, code: 'rate_limit_exceeded' } },
      { 'retry-after': '30' },
    );
    await expect(create()).rejects.toMatchObject({ status: 429, requestID: 'req_upstream' });
    const error = (await caught(create())) as APIError;
    expect(error).toBeInstanceOf(OpenAI.RateLimitError);
    const { status, headers, message, requestID, code, type } = error;
    expect([status, code, type]).toEqual([429, 'rate_limit_exceeded', 'tokens']);
    expect(message).toContain('Tidegate is holding requests back');
    expect(headers!.get('tidegate-decision')).toBe('cooldown');
    expect([...headers!.keys()].filter((name) => name.includes('ratelimit'))).toEqual([]);
    expect(requestID).toBe(headers!.get('tidegate-request-id'));
    expect(gateway.upstream.seen).toHaveLength(1);
  });

  it('waits as long as it was told, and then succeeds', async () => {
    gateway.upstream.answer = (request, response) => {
      const first = gateway.upstream.seen.length === 1;
      const answer = first ? openAiError(429, 'tokens', 'rate_limit_exceeded') : jsonCompletion();
      return answer(request, response);
    };
    await expect(create()).rejects.toMatchObject({ status: 429 });
    // Refused by Tidegate at first, for the second that the cooldown lasts.
    await expect(create(2)).resolves.toMatchObject({ id: 'chatcmpl-1' });
    const [refused, answered] = gateway.upstream.seen;
    expect(gateway.upstream.seen).toHaveLength(2);
    expect(answered!.at - refused!.at).toBeGreaterThan(990);
    expect(answered!.headers['x-stainless-retry-count']).toBe('1');
  });

  it('does not try again what waiting will not cure', async () => {
    gateway.upstream.answer = openAiError(429, 'insufficient_quota', 'insufficient_quota');
    await expect(create()).rejects.toMatchObject({ code: 'insufficient_quota' });
    const before = (await gateway.tidegate.scope()).local.refused;
    const error = (await caught(create(5))) as APIError;
    expect(error).toBeInstanceOf(OpenAI.RateLimitError);
    expect(error.code).toBe('insufficient_quota');
    expect(error.headers!.get('x-should-retry')).toBe('false');
    expect(gateway.upstream.seen).toHaveLength(1);
    await until(async () => (await gateway.tidegate.scope()).local.refused === before + 1);
    expect((await gateway.tidegate.scope()).state).toBe('terminal');
  });

  it('gets errors of Tidegate’s own as those that it knows', async () => {
    gateway.upstream.answer = (_request, response) => void response.destroy();
    const gone = (await caught(create())) as APIError;
    expect(gone).toBeInstanceOf(OpenAI.InternalServerError);
    expect([gone.status, gone.type, gone.code]).toEqual([
      502,
      'server_error',
      'upstream_unreachable',
    ]);
    const large = {
      ...PROMPT,
      messages: [{ role: 'user' as const, content: 'x'.repeat(33 << 20) }],
    };
    const refused = (await caught(through().chat.completions.create(large))) as APIError;
    expect([refused.status, refused.type]).toEqual([413, 'invalid_request_error']);
  });
});

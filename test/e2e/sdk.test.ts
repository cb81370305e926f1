import Anthropic, { APIConnectionError, APIError, APIUserAbortError } from '@anthropic-ai/sdk';
import { afterEach, describe, expect, it } from 'vitest';
import {
  jsonMessage,
  refusal,
  STREAM_HEADERS,
  streamEvents,
  streamMessage,
  type Answer,
} from '../support/fake-upstream.js';
import { useGateway } from '../support/gateway.js';
import { until } from '../support/until.js';

const gateway = useGateway({ TIDEGATE_BACKOFF: '1s' });
afterEach(() => gateway.clearCooldown());

const clientOf = (baseURL: string, maxRetries = 0) =>
  new Anthropic({ apiKey: 'sk-ant-test', baseURL, maxRetries });
const through = (maxRetries?: number) => clientOf(gateway.tidegate.proxyUrl, maxRetries);

const PROMPT = {
  model: 'claude-test',
  max_tokens: 100,
  messages: [{ role: 'user' as const, content: 'Hello' }],
};

/** Whatever it comes to, as a value that can be compared. */
async function outcomeOf(use: (client: Anthropic) => Promise<unknown>, client: Anthropic) {
  try {
    return { value: await use(client) };
  } catch (error) {
    if (!(error instanceof APIError)) return { error: String(error) };
    const { status, error: body, requestID, message, constructor } = error;
    return { kind: constructor.name, status, body, requestID, message };
  }
}

const asJson =
  (status: number, body: object): Answer =>
  (_request, response) => {
    const headers = { 'content-type': 'application/json', 'request-id': 'req_upstream' };
    response.writeHead(status, headers).end(JSON.stringify(body));
  };
const failure = (status: number, type: string) =>
  asJson(status, { type: 'error', error: { type, message: 'No.' }, request_id: 'req_upstream' });

const collect = async (client: Anthropic) => {
  const stream = client.messages.stream(PROMPT);
  const texts: string[] = [];
  stream.on('text', (text) => texts.push(text));
  const message = await stream.finalMessage();
  return { message, texts };
};

describe("Anthropic's own client finds through Tidegate what it finds without", () => {
  const brokenOff: Answer = (_request, response) => {
    response.writeHead(200, STREAM_HEADERS).write(streamEvents({}).slice(0, 4).join(''));
    setImmediate(() => response.destroy());
  };
  const failing: Answer = (_request, response) => {
    const error = { type: 'error', error: { type: 'api_error', message: 'No.' } };
    const events = streamEvents({}).slice(0, 4).join('');
    response.writeHead(200, STREAM_HEADERS);
    response.end(`${events}event: error\ndata: ${JSON.stringify(error)}\n\n`);
  };
  const cases: readonly [string, Answer, (client: Anthropic) => Promise<unknown>][] = [
    ['create', jsonMessage(), (client) => client.messages.create(PROMPT)],
    ['stream', streamMessage({ input: 7, output: 9 }, 50), collect],
    [
      'countTokens',
      asJson(200, { input_tokens: 12 }),
      (client) => client.messages.countTokens(PROMPT),
    ],
    [
      'models',
      asJson(200, { data: [{ id: 'claude-test', type: 'model' }], has_more: false }),
      async (client) => (await client.models.list()).data,
    ],
    ['400', failure(400, 'invalid_request_error'), (client) => client.messages.create(PROMPT)],
    ['401', failure(401, 'authentication_error'), (client) => client.messages.create(PROMPT)],
    ['404', failure(404, 'not_found_error'), (client) => client.messages.create(PROMPT)],
    ['429', failure(429, 'rate_limit_error'), (client) => client.messages.create(PROMPT)],
    ['500', failure(500, 'api_error'), (client) => client.messages.create(PROMPT)],
    ['529', failure(529, 'overloaded_error'), collect],
    ['a stream that fails', failing, collect],
    ['a stream that breaks off', brokenOff, collect],
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
});

describe("Anthropic's own client", () => {
  it('aborts a stream upstream by aborting its own', async () => {
    gateway.upstream.answer = (_request, response) => {
      response.writeHead(200, STREAM_HEADERS).write(streamEvents({}).slice(0, 4).join(''));
    };
    const stream = through().messages.stream(PROMPT);
    stream.on('text', () => stream.abort());
    await expect(stream.finalMessage()).rejects.toBeInstanceOf(APIUserAbortError);
    await until(() => gateway.upstream.aborted === 1, 1_000);
  });

  it('sees a local refusal as the API error that it is', async () => {
    gateway.upstream.answer = refusal({ 'retry-after': '30' });
    await expect(through().messages.create(PROMPT)).rejects.toMatchObject({ status: 429 });
    const error = await through()
      .messages.create(PROMPT)
      .catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(Anthropic.RateLimitError);
    const { status, headers, message, requestID } = error as APIError;
    expect(status).toBe(429);
    expect(message).toContain('Tidegate is holding requests back');
    expect(headers!.get('tidegate-decision')).toBe('cooldown');
    expect(requestID).toBe(headers!.get('tidegate-request-id'));
    expect(gateway.upstream.seen).toHaveLength(1);
  });

  it('waits as long as it was told, and then succeeds', async () => {
    gateway.upstream.answer = (request, response) => {
      const answer = gateway.upstream.seen.length === 1 ? failure(429, 'x') : jsonMessage();
      return answer(request, response);
    };
    await expect(through().messages.create(PROMPT)).rejects.toMatchObject({ status: 429 });
    // Refused by Tidegate at first, for the second that the cooldown lasts.
    const { created, response } = await through(2)
      .messages.create(PROMPT)
      .withResponse()
      .then(({ data, response }) => ({ created: data, response }));
    expect(created.content).toHaveLength(1);
    expect(response.headers.has('tidegate-decision')).toBe(false);
    const [refused, answered] = gateway.upstream.seen;
    expect(gateway.upstream.seen).toHaveLength(2);
    expect(answered!.at - refused!.at).toBeGreaterThan(990);
    expect(answered!.at - refused!.at).toBeLessThan(2_500);
    expect(answered!.headers['x-stainless-retry-count']).toBe('1');
  });

  it('does not try again what waiting will not cure', async () => {
    gateway.upstream.answer = failure(429, 'billing_error');
    await expect(through().messages.create(PROMPT)).rejects.toMatchObject({ status: 429 });
    const asked = performance.now();
    const refused = through(5).messages.create(PROMPT);
    await expect(refused).rejects.toMatchObject({
      status: 429,
      error: { error: { type: 'billing_error' } },
    });
    expect(performance.now() - asked).toBeLessThan(900);
    const { local } = await gateway.tidegate.scope();
    expect(local.refused).toBeLessThanOrEqual(3);
    expect(gateway.upstream.seen).toHaveLength(1);
  });

  it('tells a broken connection from an answer', async () => {
    gateway.upstream.answer = (_request, response) => {
      response.writeHead(200, { 'content-length': '100' }).write('{');
      setImmediate(() => response.destroy());
    };
    await expect(through().messages.create(PROMPT)).rejects.not.toBeInstanceOf(
      Anthropic.InternalServerError,
    );
    gateway.upstream.answer = (_request, response) => void response.destroy();
    const error = await through()
      .messages.create(PROMPT)
      .catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(Anthropic.InternalServerError);
    expect(error).not.toBeInstanceOf(APIConnectionError);
    expect((error as APIError).status).toBe(502);
  });
});

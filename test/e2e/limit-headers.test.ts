import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { FakeUpstream, messageText, streamMessage, type Answer } from '../support/fake-upstream.js';
import { jsonCompletion } from '../support/openai-upstream.js';
import { TemporaryDirectory } from '../support/temporary-directory.js';
import { TidegateProcess } from '../support/tidegate-process.js';
import { until } from '../support/until.js';

type Headers = Readonly<Record<string, string>>;

let upstream: FakeUpstream;
let directory: TemporaryDirectory;
let gate: TidegateProcess | null = null;

beforeAll(async () => {
  upstream = await FakeUpstream.open();
  directory = new TemporaryDirectory();
});
afterEach(async () => {
  await gate?.kill();
  gate = null;
});
afterAll(async () => {
  await upstream.close();
  directory.dispose();
});

const withHeaders =
  (headers: Headers, answer: Answer): Answer =>
  (request, response) => {
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    return answer(request, response);
  };

const message: Answer = (_request, response) => {
  response.setHeader('content-type', 'application/json');
  response.end(messageText({ input: 60, output: 40 }));
};
/** In learn mode, with a window of the headers' length. */
async function start(name: string, env: Headers): Promise<TidegateProcess> {
  gate = await TidegateProcess.start({
    TIDEGATE_UPSTREAM: upstream.url,
    TIDEGATE_STATE: `file:${directory.at(name)}`,
    ...env,
  });
  return gate;
}

const inSeconds = (seconds: number) => Math.floor(Date.now() / 1_000) + seconds;

/** As captured (wire facts §1.1, §1.2, §3), with all of the limit used by somebody else. */
const KINDS: readonly {
  readonly kind: string;
  readonly env: Headers;
  readonly path: string;
  readonly answer: Answer;
  readonly headers: () => Headers;
}[] = [
  {
    kind: 'anthropic',
    env: { TIDEGATE_WINDOW: '1m' },
    path: '/v1/messages',
    answer: streamMessage({ input: 60, output: 40 }),
    headers: () => ({
      'anthropic-ratelimit-requests-limit': '50',
      'anthropic-ratelimit-requests-remaining': '49',
      'anthropic-ratelimit-requests-reset': new Date(1_000 * inSeconds(1)).toISOString(),
      'anthropic-ratelimit-tokens-limit': '25000',
      'anthropic-ratelimit-tokens-remaining': '0',
      'anthropic-ratelimit-tokens-reset': new Date(1_000 * inSeconds(55)).toISOString(),
    }),
  },
  {
    kind: 'unified',
    env: {},
    path: '/v1/messages',
    answer: message,
    headers: () => ({
      'anthropic-ratelimit-unified-5h-reset': `${inSeconds(9_000)}`,
      'anthropic-ratelimit-unified-5h-status': 'allowed_warning',
      'anthropic-ratelimit-unified-5h-utilization': '1.0',
      'anthropic-ratelimit-unified-7d-reset': `${inSeconds(90_000)}`,
      'anthropic-ratelimit-unified-7d-status': 'allowed',
      'anthropic-ratelimit-unified-7d-utilization': '0.42',
      'anthropic-ratelimit-unified-representative-claim': 'five_hour',
      'anthropic-ratelimit-unified-status': 'allowed_warning',
    }),
  },
  {
    kind: 'openai',
    env: { TIDEGATE_DIALECT: 'openai', TIDEGATE_WINDOW: '1m' },
    path: '/v1/chat/completions',
    answer: jsonCompletion(),
    headers: () => ({
      'x-ratelimit-limit-requests': '60',
      'x-ratelimit-remaining-requests': '59',
      'x-ratelimit-reset-requests': '1s',
      'x-ratelimit-limit-tokens': '150000',
      'x-ratelimit-remaining-tokens': '0',
      'x-ratelimit-reset-tokens': '59s',
    }),
  },
];

/** What the latest refusal is explained with. */
async function explainedLimit(): Promise<unknown> {
  let limit: unknown;
  // Refusals are on record once a second.
  await until(async () => {
    const answer = await fetch(`${gate?.controlUrl}/explain/${refusedId}`);
    const { limits } = (await answer.json()) as { limits?: readonly unknown[] };
    limit = limits?.[0];
    return answer.ok;
  });
  return limit;
}

let refusedId = '';
async function decisionOf(path: string): Promise<string | number> {
  const body = JSON.stringify({ model: 'm', messages: [] });
  const headers = { 'content-type': 'application/json' };
  const url = `${gate?.proxyUrl}${path}`;
  const response = await fetch(url, { method: 'POST', headers, body });
  await response.text();
  refusedId = response.headers.get('tidegate-request-id') ?? '';
  return response.headers.get('tidegate-decision') ?? response.status;
}

it.each(KINDS)('$kind headers lead from the first answer on, and after a SIGKILL', async (kind) => {
  const { env, path, answer, headers } = kind;
  await start(kind.kind, env);
  upstream.answer = withHeaders(headers(), answer);
  expect(await decisionOf(path)).toBe(200);
  await until(async () => (await gate!.scope()).limits[0]?.budget.source === 'headers');
  expect(await decisionOf(path)).toBe('budget');
  await gate!.kill();
  await start(kind.kind, env);
  expect(await decisionOf(path)).toBe('budget');
  const stated = { source: 'headers', statedAs: kind.kind === 'unified' ? '5h' : 'tokens' };
  expect(await explainedLimit()).toMatchObject({ budget: stated });
  const { limits, state, upstream: counts } = await gate!.scope();
  expect(state).toBe('exhausted');
  expect(limits[0]?.budget).toMatchObject({ source: 'headers', initial: null });
  expect(counts.refused429).toBe(0);
});

it('Azure’s -1, -1 and 0 say nothing', async () => {
  await start('azure', { TIDEGATE_DIALECT: 'openai', TIDEGATE_WINDOW: '1m' });
  const unknown = {
    'x-ratelimit-limit-tokens': '-1',
    'x-ratelimit-remaining-tokens': '-1',
    'x-ratelimit-reset-tokens': '0',
  };
  upstream.answer = withHeaders(unknown, jsonCompletion());
  for (const _ of [1, 2]) expect(await decisionOf('/v1/chat/completions')).toBe(200);
  expect((await gate!.scope()).limits[0]?.budget.source).toBe('none');
});

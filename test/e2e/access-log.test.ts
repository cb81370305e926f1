import { readFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import type { AccessLine } from '../../src/proxy/access-log.js';
import { refusal, STREAM_HEADERS, streamEvents, streamMessage } from '../support/fake-upstream.js';
import { useGateway } from '../support/gateway.js';
import { TemporaryDirectory } from '../support/temporary-directory.js';
import { until } from '../support/until.js';

const directory = new TemporaryDirectory();
afterAll(() => directory.dispose());
const PATH = directory.at('access.log');

const FIELDS = [
  'at',
  'requestId',
  'upstream',
  'scope',
  'model',
  'session',
  'bodyBytes',
  'decision',
  'status',
  'upstreamStatus',
  'estimatedTokens',
  'inputTokens',
  'cachedTokens',
  'outputTokens',
  'complete',
  'waitMs',
  'firstByteMs',
  'durationMs',
  'retryAfterMs',
];

function lines(): AccessLine[] {
  let text = '';
  try {
    text = readFileSync(PATH, 'utf8');
  } catch {
    // Nothing was written yet.
  }
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as AccessLine);
}

describe('the access log', () => {
  const gateway = useGateway({ TIDEGATE_ACCESS_LOG: PATH, TIDEGATE_BUDGET: '1000000' });

  /** The lines that `traffic` leads to, once there are as many as expected. */
  async function linesOf(count: number, traffic: () => Promise<void>): Promise<AccessLine[]> {
    const before = lines().length;
    await traffic();
    await until(() => lines().length >= before + count);
    return lines().slice(before);
  }

  it('has one line for a call, with exactly the fields of the reference', async () => {
    const secret = 'a secret prompt';
    const session = 'session-of-the-client';
    const [line] = await linesOf(1, async () => {
      const response = await gateway.tidegate.call(
        { messages: [{ role: 'user', content: secret }] },
        { headers: { 'x-claude-code-session-id': session, 'x-api-key': 'sk-ant-secret' } },
      );
      await response.text();
    });
    expect(Object.keys(line!)).toEqual(FIELDS);
    expect(line).toMatchObject({
      requestId: expect.stringMatching(/^tg_[0-9a-z]+$/),
      upstream: 'anthropic',
      scope: 'anthropic',
      model: 'claude-test',
      session: expect.stringMatching(/^[0-9a-f]{16}$/),
      decision: 'admitted',
      status: 200,
      upstreamStatus: 200,
      inputTokens: 10,
      cachedTokens: 0,
      outputTokens: 5,
      complete: true,
      retryAfterMs: null,
    });
    expect(Math.abs(Date.parse(line!.at) - Date.now())).toBeLessThan(60_000);
    const { waitMs, firstByteMs, durationMs } = line!;
    expect(waitMs! <= firstByteMs! && firstByteMs! <= durationMs).toBe(true);
    expect(line!.bodyBytes).toBeGreaterThan(secret.length);
    expect(line!.estimatedTokens).toBeGreaterThan(0);
    const text = readFileSync(PATH, 'utf8');
    for (const word of [secret, session, 'sk-ant-secret']) expect(text).not.toContain(word);
  });

  it('tells one conversation from another, and knows it again', async () => {
    const told = await linesOf(4, async () => {
      for (const session of ['one', 'two', 'one', '']) {
        const headers = { 'x-claude-code-session-id': session };
        await (await gateway.tidegate.call({}, { headers })).text();
      }
    });
    const [first, second, third, none] = told.map(({ session }) => session);
    expect(third).toBe(first);
    expect(second).not.toBe(first);
    expect(none).toBe('');
  });

  it('has the usage of a stream', async () => {
    gateway.upstream.answer = streamMessage({ input: 40, output: 30 });
    const [line] = await linesOf(1, async () => {
      await (await gateway.tidegate.call({ stream: true })).text();
    });
    expect(line).toMatchObject({ inputTokens: 40, outputTokens: 30, complete: true, status: 200 });
  });

  it('has what is known of one that its client left', async () => {
    gateway.upstream.answer = (_request, response) => {
      response.writeHead(200, STREAM_HEADERS).write(streamEvents({ input: 50 })[0]);
    };
    const [line] = await linesOf(1, async () => {
      const abort = new AbortController();
      const response = await gateway.tidegate.call({}, { signal: abort.signal });
      await response.body!.getReader().read();
      abort.abort();
    });
    expect(line).toMatchObject({
      inputTokens: 50,
      complete: false,
      status: 200,
      firstByteMs: expect.any(Number),
    });
  });

  it('has a refusal of the upstream with the wait it stated, and the local ones after it', async () => {
    gateway.upstream.answer = refusal({ 'retry-after': '120' });
    const [first, second] = await linesOf(2, async () => {
      await (await gateway.tidegate.call()).text();
      await (await gateway.tidegate.call()).text();
    });
    const unknown = { inputTokens: null, cachedTokens: null, outputTokens: null, complete: false };
    expect(first).toMatchObject({
      ...unknown,
      decision: 'admitted',
      status: 429,
      upstreamStatus: 429,
      retryAfterMs: 120_000,
    });
    expect(second).toMatchObject({
      ...unknown,
      decision: 'cooldown',
      status: 429,
      upstreamStatus: null,
      waitMs: null,
      retryAfterMs: 59_000,
      estimatedTokens: expect.any(Number),
    });
    await gateway.clearCooldown();
  });

  it('has one that got no answer, and none for what is not metered', async () => {
    gateway.upstream.sayRaw('HTTP/1.1 garbage\r\n\r\n', (wire) => wire.destroy());
    const [line, ...others] = await linesOf(1, async () => {
      await (await fetch(`${gateway.tidegate.proxyUrl}/v1/models`)).text();
      await (await gateway.tidegate.call()).text();
    });
    expect(line).toMatchObject({ decision: 'admitted', status: 502, upstreamStatus: 0 });
    expect(others).toEqual([]);
  });
});

describe('an access log that can’t be written', () => {
  const gateway = useGateway({ TIDEGATE_ACCESS_LOG: '/dev/full' });

  it('holds up no request, and is told in log and health', async () => {
    for (let n = 0; n < 5; n += 1) {
      expect((await gateway.tidegate.call()).status).toBe(200);
    }
    await until(() => gateway.tidegate.log().some(({ message }) => /access log/.test(message)));
    const response = await fetch(`${gateway.tidegate.controlUrl}/health/ready`);
    expect(response.status).toBe(200);
    const { details } = (await response.json()) as { details: Record<string, { status: string }> };
    expect(details['logs']).toMatchObject({
      status: 'degraded',
      problems: ["/dev/full can't be written (ENOSPC)"],
    });
  });
});

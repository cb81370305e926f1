import { readdirSync, readFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { jsonMessage, refusal, type Answer } from '../support/fake-upstream.js';
import { type Gateway, useGateway } from '../support/gateway.js';
import { expectRefusal, type ExpectedRefusal } from '../support/local-answer.js';
import { until } from '../support/until.js';

const CALL = 'POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}';

const answerWith =
  (status: number, type: string, headers: Record<string, string> = {}): Answer =>
  (_request, response) => {
    const error = { type, message: 'No.' };
    response.writeHead(status, headers).end(JSON.stringify({ type: 'error', error }));
  };

/** The `refused` lines of the log since the last call. */
function refusedLines(gateway: Gateway) {
  const lines = gateway.tidegate.log().filter(({ message }) => message === 'refused');
  gateway.tidegate.err = '';
  return lines;
}

describe('a local refusal', () => {
  const gateway = useGateway({ TIDEGATE_BACKOFF: '300ms', TIDEGATE_PROBE_EVERY: '5m' });
  afterEach(() => gateway.clearCooldown());

  const quota = { status: 429, type: 'rate_limit_error' };
  it.each([
    [
      refusal({ 'retry-after': '30' }),
      { ...quota, decision: 'cooldown', blockedS: [29, 33], retryAfterS: [28, 33], retry: true },
    ],
    [
      refusal({ 'retry-after': '500' }),
      { ...quota, decision: 'cooldown', blockedS: [499, 550], retryAfterS: [59, 59], retry: true },
    ],
    [
      refusal({ 'retry-after': '7200' }),
      {
        ...quota,
        decision: 'cooldown',
        blockedS: [7_199, 7_920],
        retryAfterS: [59, 59],
        retry: false,
      },
    ],
    [
      answerWith(429, 'billing_error'),
      {
        status: 429,
        type: 'billing_error',
        decision: 'terminal',
        blockedS: [299, 330],
        retryAfterS: [59, 59],
        retry: false,
      },
    ],
    [
      answerWith(529, 'overloaded_error'),
      {
        status: 529,
        type: 'overloaded_error',
        decision: 'overload',
        blockedS: [0, 1],
        retryAfterS: [1, 1],
        retry: true,
      },
    ],
  ] satisfies [Answer, ExpectedRefusal][])(
    'says all there is to say (%#)',
    async (answer, expected) => {
      gateway.upstream.answer = answer;
      const relayed = await gateway.exchange(CALL);
      expect(relayed.headers.has('tidegate-decision'), 'the upstream refused').toBe(false);
      refusedLines(gateway);
      const seen = gateway.upstream.seen.length;
      const answers = [await gateway.exchange(CALL), await gateway.exchange(CALL)];
      for (const local of answers) expectRefusal(local, expected);
      expect(gateway.upstream.seen).toHaveLength(seen);
      await until(() => gateway.tidegate.log().length >= 2);
      expect(refusedLines(gateway)).toEqual(
        answers.map(({ headers }) => ({
          time: expect.any(String),
          level: 'info',
          message: 'refused',
          requestId: headers.get('tidegate-request-id'),
          scope: 'anthropic',
          decision: expected.decision,
          until: headers.get('tidegate-blocked-until'),
        })),
      );
    },
  );

  it('while another request is the probe asks to come back in a second', async () => {
    gateway.upstream.answer = answerWith(429, 'rate_limit_error');
    await gateway.exchange(CALL);
    await until(async () => (await gateway.tidegate.scope()).state === 'half-open');
    gateway.upstream.answer = () => {};
    const probe = await gateway.connect();
    await probe.write(CALL);
    await until(() => gateway.upstream.seen.length === 2);
    expectRefusal(await gateway.exchange(CALL), {
      ...quota,
      decision: 'probing',
      blockedS: [0, 1],
      retryAfterS: [1, 1],
      retry: true,
    });
    probe.destroy();
    await until(() => gateway.upstream.aborted === 1);
  });

  it('keeps its connection, for the client comes back', async () => {
    gateway.upstream.answer = refusal({ 'retry-after': '30' });
    const wire = await gateway.connect();
    for (let count = 0; count < 3; count += 1) {
      await wire.write(CALL);
      const answer = await wire.answer();
      expect([answer.status, answer.headers.get('connection')]).toEqual([429, 'keep-alive']);
    }
    wire.destroy();
  });
});

describe('a budget that is used up', () => {
  const gateway = useGateway({ TIDEGATE_BUDGET: '100', TIDEGATE_MAX_RETRY_AFTER: '5s' });

  it('refuses until the window ends, and TIDEGATE_MAX_RETRY_AFTER bounds the wait', async () => {
    gateway.upstream.answer = jsonMessage({ input: 90, output: 10 });
    expect((await gateway.exchange(CALL)).status).toBe(200);
    await gateway.charges(0, 100);
    expectRefusal(await gateway.exchange(CALL), {
      status: 429,
      type: 'rate_limit_error',
      decision: 'budget',
      blockedS: [17_990, 18_000],
      retryAfterS: [5, 5],
      retry: false,
    });
    expect(gateway.upstream.seen).toHaveLength(1);
  });
});

describe('observe mode', () => {
  const gateway = useGateway({ TIDEGATE_MODE: 'observe', TIDEGATE_BUDGET: '100' });

  it('lets everything pass, and logs what it would have refused', async () => {
    const decisions = () =>
      gateway.tidegate
        .log()
        .filter(({ message }) => message === 'would refuse')
        .map(({ decision }) => decision);
    gateway.upstream.answer = refusal({ 'retry-after': '30' });
    expect((await gateway.exchange(CALL)).status).toBe(429);
    gateway.upstream.answer = jsonMessage({ input: 90, output: 20 });
    const pass = async () => expect((await gateway.exchange(CALL)).status).toBe(200);
    await pass();
    await pass();
    await until(() => decisions().length === 2);
    await gateway.clearCooldown();
    await pass();
    await until(() => decisions().length === 3);
    // The budget had run out before the cooldown was cleared; but a cooldown decides first.
    expect(decisions()).toEqual(['cooldown', 'cooldown', 'budget']);
    expect(gateway.upstream.seen).toHaveLength(4);
    expect(refusedLines(gateway)).toEqual([]);
  });
});

describe('what a request says', () => {
  const gateway = useGateway();

  it('is in no log line and in no file', async () => {
    const secret = 'sentinel-7f3a9';
    const call = (path: string, body: string) =>
      [
        `POST ${path}?key=${secret} HTTP/1.1`,
        'Host: x',
        `X-Api-Key: ${secret}`,
        `Authorization: Bearer ${secret}`,
        `X-Claude-Code-Session-Id: ${secret}`,
        `Cookie: ${secret}`,
        `Content-Length: ${body.length}`,
        '',
        body,
      ].join('\r\n');
    const body = JSON.stringify({ model: 'm', messages: [{ role: 'user', content: secret }] });
    const ask = () => gateway.exchange(call('/v1/messages', body));
    const answers: Answer[] = [
      jsonMessage(),
      (_request, response) => void response.destroy(),
      (_request, response) => void response.writeHead(400).end(secret),
      (_request, response) => void response.writeHead(529).end(secret),
      refusal({ 'retry-after': '30' }, secret),
    ];
    for (const answer of answers) {
      gateway.upstream.answer = answer;
      await ask();
      await gateway.clearCooldown();
    }
    gateway.upstream.answer = refusal({ 'retry-after': '30' }, secret);
    await ask();
    expect((await ask()).headers.get('tidegate-decision')).toBe('cooldown');
    await gateway.exchange(call(`/${secret}#`, body));
    await gateway.exchange(`BREW /${secret} HTTP/1.1\r\n\r\n`);
    await gateway.exchange(
      call('/v1/other', body).replace('Host: x', `Host: x\r\nHost: ${secret}`),
    );
    await gateway.settledUse();
    expect(gateway.tidegate.log().length).toBeGreaterThan(5);
    expect(gateway.tidegate.err + gateway.tidegate.out).not.toContain(secret);
    const { path } = gateway.directory;
    const files = readdirSync(path);
    expect(files).toContain('state.json');
    for (const file of files) {
      expect(readFileSync(gateway.directory.at(file), 'utf8'), file).not.toContain(secret);
    }
  });
});

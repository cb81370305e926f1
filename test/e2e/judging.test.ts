import { randomBytes } from 'node:crypto';
import zlib from 'node:zlib';
import { afterEach, describe, expect, it } from 'vitest';
import {
  jsonMessage,
  STREAM_HEADERS,
  streamEvents,
  type Answer,
} from '../support/fake-upstream.js';
import { useGateway } from '../support/gateway.js';
import { until } from '../support/until.js';

const CALL = 'POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}';
const COUNT = CALL.replace('/v1/messages', '/v1/messages/count_tokens');

const errorBody = (type: string, message: string) =>
  JSON.stringify({ type: 'error', error: { type, message }, request_id: 'req_1' });
const QUOTA = errorBody('rate_limit_error', 'This request would exceed your limit.');
/** It concerns what this one request asks for, whatever is left of the limits. */
const NOT_ENTITLED = errorBody(
  'rate_limit_error',
  'Extra usage is required for long context requests.',
);

const gateway = useGateway();
afterEach(() => gateway.clearCooldown());

/** What the next request meets: Tidegate's decision, or `open` if the upstream saw it. */
async function nextDecision(): Promise<string> {
  const { upstream } = gateway;
  upstream.answer = jsonMessage();
  const before = upstream.seen.length;
  const { headers, status } = await gateway.exchange(CALL);
  expect(upstream.seen.length - before).toBe(status === 200 ? 1 : 0);
  return headers.get('tidegate-decision') ?? 'open';
}

const answerWith =
  (status: number, body: string | Buffer, headers: Record<string, string> = {}): Answer =>
  (_request, response) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(body);
  };

describe('an answer that refuses is relayed as it came', () => {
  it.each([
    ['quota', 429, QUOTA, { 'retry-after': '7', 'x-should-retry': 'true' }, 'cooldown'],
    ['a bare 429', 429, '', {}, 'cooldown'],
    ['only this request', 429, NOT_ENTITLED, {}, 'open'],
    ['in passing', 429, errorBody('rate_limit_error', 'Error'), {}, 'open'],
    ['terminal', 429, errorBody('billing_error', 'No more.'), {}, 'terminal'],
    ['overload', 529, errorBody('overloaded_error', 'Overloaded'), {}, 'overload'],
    ['unavailable', 503, 'plain text', { 'retry-after': '3' }, 'overload'],
    [
      'its own spend limit',
      400,
      errorBody('invalid_request_error', 'You have reached your specified API usage limits.'),
      {},
      'terminal',
    ],
    ['a bad request', 400, errorBody('invalid_request_error', 'max_tokens: required'), {}, 'open'],
    ['credentials', 401, errorBody('authentication_error', 'invalid x-api-key'), {}, 'open'],
    ['an error', 500, errorBody('api_error', 'Internal server error'), {}, 'open'],
  ])('%s', async (_what, status, body, headers, decision) => {
    gateway.upstream.answer = answerWith(status, body, headers);
    const before = await gateway.settledUse();
    const answer = await gateway.exchange(CALL);
    expect([answer.status, answer.body.toString()]).toEqual([status, body]);
    for (const [name, value] of Object.entries(headers)) {
      expect(answer.headers.get(name)).toBe(value);
    }
    expect([...answer.headers.keys()].filter((name) => name.startsWith('tidegate-'))).toEqual([]);
    await gateway.charges(before, 0);
    expect(await nextDecision()).toBe(decision);
  });

  it('compressed, and is understood', async () => {
    for (const [body, decision] of [
      [NOT_ENTITLED, 'open'],
      [errorBody('billing_error', 'No more.'), 'terminal'],
    ] as const) {
      const bytes = zlib.gzipSync(body);
      gateway.upstream.answer = answerWith(429, bytes, { 'content-encoding': 'gzip' });
      expect((await gateway.exchange(CALL)).body.equals(bytes)).toBe(true);
      expect(await nextDecision()).toBe(decision);
      await gateway.clearCooldown();
    }
  });

  it('and means nothing where nothing is spent', async () => {
    gateway.upstream.answer = answerWith(429, QUOTA, { 'retry-after': '30' });
    expect((await gateway.exchange(COUNT)).status).toBe(429);
    expect(await nextDecision()).toBe('open');
  });
});

describe('a refusal is judged', () => {
  it('by its headers, when its body is late: the client waits a quarter of a second', async () => {
    let bodyDue = Number.POSITIVE_INFINITY;
    gateway.upstream.answer = (_request, response) => {
      response.writeHead(429, { 'retry-after': '30' }).flushHeaders();
      setTimeout(() => {
        bodyDue = performance.now();
        response.end(NOT_ENTITLED);
      }, 600);
    };
    const wire = await gateway.connect();
    const asked = performance.now();
    await wire.write(CALL);
    await wire.says('\r\n\r\n');
    expect(performance.now() - asked).toBeGreaterThan(240);
    expect(performance.now()).toBeLessThan(bodyDue);
    expect((await wire.answer()).body.toString()).toBe(NOT_ENTITLED);
    wire.destroy();
    expect(await nextDecision()).toBe('cooldown');
  });

  it.each([1_000, 65_536, 200_000, 3_000_000])(
    'by the start of %i bytes, which all arrive, and nobody waits for the last one',
    async (size) => {
      const body = Buffer.concat([Buffer.from(NOT_ENTITLED), randomBytes(size)]);
      gateway.upstream.answer = (_request, response) => {
        response.writeHead(429);
        for (let at = 0; at < body.length; at += 9_999) {
          response.write(body.subarray(at, at + 9_999));
        }
        if (size < 65_536) response.end();
        else setTimeout(() => response.end('the end'), 400);
      };
      const ask = async () => {
        const wire = await gateway.connect();
        const asked = performance.now();
        await wire.write(CALL);
        await wire.says('\r\n\r\n');
        const headMs = performance.now() - asked;
        const answer = await wire.answer();
        expect([answer.status, answer.headers.get('tidegate-decision')]).toEqual([429, undefined]);
        expect(answer.body.subarray(0, body.length).equals(body)).toBe(true);
        wire.destroy();
        return headMs;
      };
      // A body that is waited for takes a quarter of a second each time; a busy machine now and then.
      let headMs = await ask();
      for (let more = 0; more < 3 && headMs >= 200; more += 1) {
        await gateway.clearCooldown();
        headMs = await ask();
      }
      expect(headMs).toBeLessThan(200);
    },
  );

  it('before the client knows of it: one that comes back at once meets the cooldown', async () => {
    for (let round = 0; round < 20; round += 1) {
      gateway.upstream.answer = answerWith(429, QUOTA, { 'retry-after': '30' });
      expect((await gateway.exchange(CALL)).headers.get('tidegate-decision')).toBeUndefined();
      expect(await nextDecision()).toBe('cooldown');
      await gateway.clearCooldown();
    }
  });
});

describe('a stream that fails after its status said 200', () => {
  it.each([
    ['overloaded_error', 'Sorry', 'overload'],
    ['rate_limit_error', 'Sorry', 'cooldown'],
    // As with a status of its own: only this request, in passing, for want of money.
    ['rate_limit_error', 'Extra usage is required for long context requests.', 'open'],
    ['rate_limit_error', 'Rate limited', 'open'],
    ['billing_error', 'No more.', 'terminal'],
    ['api_error', 'Sorry', 'open'],
  ])('with %s: %s', async (type, message, decision) => {
    const before = await gateway.settledUse();
    const error = `event: error\ndata: ${errorBody(type, message)}\n\n`;
    const events = [...streamEvents({ input: 100 }, 3).slice(0, 5), error].join('');
    gateway.upstream.answer = (_request, response) => {
      response.writeHead(200, STREAM_HEADERS).end(events);
    };
    const answer = await gateway.exchange(CALL);
    expect([answer.status, answer.body.toString()]).toEqual([200, events]);
    await gateway.charges(before, 105);
    expect(await nextDecision()).toBe(decision);
  });

  it('with nothing but the error', async () => {
    const events = `event: error\ndata: ${errorBody('overloaded_error', 'Overloaded')}\n\n`;
    gateway.upstream.answer = (_request, response) => {
      response.writeHead(200, STREAM_HEADERS).end(events);
    };
    expect((await gateway.exchange(CALL)).body.toString()).toBe(events);
    expect(await nextDecision()).toBe('overload');
  });

  it('with overload each time: a longer pause each time, until an answer comes to its end', async () => {
    const rung = async () => (await gateway.tidegate.scope()).cooldown?.consecutive;
    const isOpen = () => until(async () => (await rung()) === undefined, 5_000);
    const error = `event: error\ndata: ${errorBody('overloaded_error', 'Overloaded')}\n\n`;
    const failing: Answer = (_request, response) => {
      response.writeHead(200, STREAM_HEADERS).end(streamEvents({ input: 100 }, 3)[0] + error);
    };
    const rungs: unknown[] = [];
    for (const answer of [failing, failing, jsonMessage(), failing]) {
      gateway.upstream.answer = answer;
      expect((await gateway.exchange(CALL)).status).toBe(200);
      await gateway.settledUse();
      rungs.push(await rung());
      await isOpen();
    }
    expect(rungs).toEqual([1, 2, undefined, 1]);
  });
});

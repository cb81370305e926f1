import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openAiDialect } from '../../src/dialects/openai/openai-dialect.js';
import type { UpstreamProxy } from '../../src/proxy/upstream-proxy.js';
import { HOUR, limit, Town } from '../governor/support.js';
import { FakeUpstream } from '../support/fake-upstream.js';
import { asJson, asksForUsage, streamCompletion } from '../support/openai-upstream.js';
import { until } from '../support/until.js';
import type { Wire } from '../support/wire.js';
import { LONGEST_MS, proxyTo } from './support.js';

const OPENAI = openAiDialect({ cachedInput: 'counted', streamUsage: 'ask' });
const EMPTY = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n';
const REFUSES = asJson(400, { error: 'Unknown parameter: stream_options' });

let town: Town;
let upstream: FakeUpstream;
let proxy: UpstreamProxy;
let url: string;

/** One request an hour; the time stands still. */
beforeEach(async () => {
  town = await Town.open({ limits: [limit({ unit: 'requests', windowMs: HOUR, budget: 1 })] });
  upstream = await FakeUpstream.open((seen, response) =>
    (asksForUsage(seen) ? REFUSES : streamCompletion())(seen, response),
  );
  proxy = proxyTo(upstream.url, town, OPENAI);
  const [address] = await proxy.listen();
  url = `http://127.0.0.1:${address?.port}/v1/chat/completions`;
});

afterEach(async () => {
  await proxy.close();
  await upstream.close();
});

async function stream(model = 'm') {
  const body = JSON.stringify({ model, stream: true, messages: [] });
  const response = await fetch(url, { method: 'POST', body });
  await response.text();
  const decision = response.headers.get('tidegate-decision');
  return { status: response.status, decision };
}

it('a request whose addition is refused goes out again on a connection of its own', async () => {
  const own = await Town.open();
  const gateway = await FakeUpstream.open();
  const idle: Wire[] = [];
  gateway.speakRaw((wire) => {
    const answer = (status: string, body: string) =>
      void wire.write(`HTTP/1.1 ${status}\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    wire.socket.on('data', (request: Buffer) => {
      const text = request.toString();
      if (text.includes('stream_options')) answer('400 Bad Request', 'no stream_options');
      // It closes a connection on which it has answered, and does not say so.
      else if (idle.includes(wire)) wire.destroy();
      else if (text.startsWith('POST')) answer('200 OK', 'data: [DONE]\n\n');
      else if (idle.push(wire) === 2) for (const each of idle) void each.write(EMPTY);
    });
  });
  const front = proxyTo(gateway.url, own, OPENAI);
  try {
    const [address] = await front.listen();
    url = `http://127.0.0.1:${address?.port}/v1/chat/completions`;
    await Promise.all([fetch(url), fetch(url)]);
    expect((await stream()).status).toBe(200);
  } finally {
    await front.close();
    await gateway.close();
  }
});

describe('a request whose addition is refused, and that can not be sent again at once', () => {
  it('gets through the next time, where one request at a time is let through', async () => {
    expect(await stream()).toEqual({ status: 429, decision: 'budget' });
    expect(upstream.seen.map(asksForUsage)).toEqual([true]);
    await town.pass(HOUR);
    expect((await stream()).status).toBe(200);
    expect(upstream.seen.map(asksForUsage)).toEqual([true, false]);
    // That one success says nothing of what was added: the next one asks again.
    await town.pass(HOUR);
    expect((await stream()).status).toBe(429);
    expect(upstream.seen.map(asksForUsage)).toEqual([true, false, true]);
  });

  it('is not sent again during a drain', async () => {
    let refuse = () => {};
    upstream.answer = (seen, response) => {
      if (!asksForUsage(seen)) return streamCompletion()(seen, response);
      refuse = () => void REFUSES(seen, response);
    };
    const told = stream();
    await until(() => upstream.seen.length === 1);
    // So that the limit would allow it.
    await town.pass(HOUR);
    const drained = proxy.drain(LONGEST_MS);
    refuse();
    expect(await told).toEqual({ status: 503, decision: 'state' });
    await drained;
    expect(upstream.seen).toHaveLength(1);
  });
});

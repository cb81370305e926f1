import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { UpstreamProxy } from '../../src/proxy/upstream-proxy.js';
import { Town } from '../governor/support.js';
import { FakeUpstream, messageText } from '../support/fake-upstream.js';
import { until } from '../support/until.js';
import { Wire } from '../support/wire.js';
import { LONGEST_MS, proxyTo } from './support.js';

/** What passes after a start before anything was answered; the others are held back for a moment. */
const FIRST = 16;
const HELD = 4;

/**
 * The proxy on real sockets, the governor and all timers on a time that stands still: whatever is
 * answered here was not answered because somebody had waited long enough.
 */
let town: Town;
let upstream: FakeUpstream;
let proxy: UpstreamProxy;
let url: string;
let flying: ServerResponse[];

beforeEach(async () => {
  flying = [];
  town = await Town.open();
  upstream = await FakeUpstream.open((_request, response) => void flying.push(response));
  proxy = proxyTo(upstream.url, town);
  const [address] = await proxy.listen();
  url = `http://127.0.0.1:${address?.port}/v1/messages`;
});

afterEach(async () => {
  await proxy.close();
  await upstream.close();
});

interface Told {
  /** 0: cut off. */
  readonly status: number;
  readonly decision: string | null;
  readonly retryAfter: string | null;
}

/** Calls until the first of them are with the upstream and the rest are held back. */
async function callAll(): Promise<{ told: Told[]; calls: Promise<void>[] }> {
  const told: Told[] = [];
  const calls = Array.from({ length: FIRST + HELD }, async () => {
    const response = await fetch(url, { method: 'POST', body: '{"model":"m"}' }).catch(() => null);
    await response?.text();
    told.push({
      status: response?.status ?? 0,
      decision: response?.headers.get('tidegate-decision') ?? null,
      retryAfter: response?.headers.get('retry-after') ?? null,
    });
  });
  await until(() => flying.length === FIRST);
  await until(() => proxy.inFlight === FIRST + HELD);
  return { told, calls };
}

function answerAll(): void {
  for (const response of flying) response.end(messageText({}));
}

describe('a drain', () => {
  it('answers those at once whom the governor holds back, and then waits for the others', async () => {
    const { told, calls } = await callAll();
    let over = false;
    const drained = proxy.drain(LONGEST_MS).then(() => (over = true));
    await until(() => told.length === HELD);
    expect(new Set(told.map((each) => JSON.stringify(each)))).toEqual(
      new Set([JSON.stringify({ status: 429, decision: 'probing', retryAfter: '1' })]),
    );
    expect(flying, 'none of them was forwarded').toHaveLength(FIRST);
    expect(over).toBe(false);
    answerAll();
    await drained;
    await Promise.all(calls);
    expect(told.filter(({ status }) => status === 200)).toHaveLength(FIRST);
    expect(proxy.inFlight).toBe(0);
  });

  it('cuts off at its deadline what is still under way, and resolves', async () => {
    const { told, calls } = await callAll();
    const drained = proxy.drain(LONGEST_MS);
    await until(() => told.length === HELD);
    town.time.advance(LONGEST_MS);
    await drained;
    expect(proxy.inFlight, 'what was cut off has settled').toBe(0);
    await Promise.all(calls);
    expect(told.filter(({ status }) => status === 0)).toHaveLength(FIRST);
    await until(() => upstream.aborted === FIRST);
  });
});

it('the end cuts off whoever is still under way', async () => {
  const asked = fetch(url, { method: 'POST', body: '{"model":"m"}' }).catch(() => null);
  await until(() => flying.length === 1);
  await proxy.close();
  expect(await asked).toBeNull();
});

it('the end closes the connections to the upstream, too', async () => {
  const idle: Wire[] = [];
  upstream.sayRaw('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n', (wire) => void idle.push(wire));
  await fetch(url);
  await proxy.close();
  await until(() => idle[0]?.ended === true);
});

it('the end does not wait for connections that linger after a refusal', async () => {
  const wires = await Promise.all(
    ['CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n', 'no HTTP\r\n\r\n'].map(async (request) => {
      const wire = await Wire.open(url);
      await wire.write(request);
      expect((await wire.answer()).status).toBe(400);
      return wire;
    }),
  );
  // The time of their lingering stands still.
  await proxy.close();
  for (const wire of wires) wire.destroy();
});

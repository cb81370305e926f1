import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Socket } from 'node:net';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Governor } from '../../src/governor/governor.js';
import type { UpstreamProxy } from '../../src/proxy/upstream-proxy.js';
import { SCOPE, Town } from '../governor/support.js';
import { FakeUpstream } from '../support/fake-upstream.js';
import { until } from '../support/until.js';
import { Wire } from '../support/wire.js';
import { proxyTo } from './support.js';

const CALL = { method: 'POST', body: '{"model":"m"}' };

let upstream: FakeUpstream;
let proxies: UpstreamProxy[];

beforeEach(async () => {
  upstream = await FakeUpstream.open();
  proxies = [];
});

afterEach(async () => {
  for (const proxy of proxies) await proxy.close();
  await upstream.close();
});

async function open(proxy: UpstreamProxy): Promise<string> {
  proxies.push(proxy);
  const [address] = await proxy.listen();
  return `http://127.0.0.1:${address?.port}`;
}

it('a Tidegate may stand behind another one', async () => {
  const inner = await open(proxyTo(upstream.url, await Town.open()));
  const outer = await open(proxyTo(inner, await Town.open()));
  expect((await fetch(`${outer}/v1/messages`, CALL)).status).toBe(200);
});

it('a client that falls silent in the middle of a metered request is cut off', async () => {
  const proxy = proxyTo(upstream.url, await Town.open());
  const wire = await Wire.open(await open(proxy));
  let socket: Socket | null = null;
  const take = (message: unknown) => ({ socket } = message as { socket: Socket });
  subscribe('http.server.request.start', take);
  await wire.write('POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{}');
  await until(() => proxy.heldBytes === 9 && socket !== null);
  unsubscribe('http.server.request.start', take);
  // What Node does after so long without a byte.
  (socket as Socket | null)?.emit('timeout');
  await until(() => wire.closed || wire.ended);
  await until(() => proxy.inFlight === 0);
  expect(proxy.heldBytes).toBe(0);
});

it.each([
  [true, 200],
  [false, 503],
])('where nothing can be recorded, observing: %s, a request gets %i', async (observe, status) => {
  const town = await Town.open();
  const governor = {
    scopes: [SCOPE],
    admit: () => Promise.resolve({ kind: 'state-unavailable', problem: 'disk full' }),
  } as unknown as Governor;
  const proxy = proxyTo(upstream.url, town, undefined, { governor, observe });
  const url = await open(proxy);
  expect((await fetch(`${url}/v1/messages`, CALL)).status).toBe(status);
  expect(upstream.seen).toHaveLength(observe ? 1 : 0);
  const told = (observe ? proxy.tally.observed : proxy.tally.refusals).read();
  expect(told).toContainEqual({ owner: SCOPE, kind: 'state', count: 1 });
});

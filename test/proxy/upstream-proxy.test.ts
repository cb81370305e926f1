import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Socket } from 'node:net';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ANTHROPIC } from '../../src/dialects/anthropic/anthropic-dialect.js';
import { openAiDialect } from '../../src/dialects/openai/openai-dialect.js';
import { SILENT_LOG } from '../../src/platform/log.js';
import type { Governor } from '../../src/governor/governor.js';
import { IDLE_MS } from '../../src/proxy/held-bodies.js';
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

/** The proxy's ends of the connections on which requests begin meanwhile. */
async function socketsOf(meanwhile: () => Promise<void>): Promise<Socket[]> {
  const sockets: Socket[] = [];
  const take = (message: unknown) => sockets.push((message as { socket: Socket }).socket);
  subscribe('http.server.request.start', take);
  await meanwhile();
  unsubscribe('http.server.request.start', take);
  return sockets;
}

it('a Tidegate may stand behind another one', async () => {
  const inner = await open(proxyTo(upstream.url, await Town.open()));
  const outer = await open(proxyTo(inner, await Town.open()));
  expect((await fetch(`${outer}/v1/messages`, CALL)).status).toBe(200);
});

it('a request takes no room once it is answered, and tells the upstream’s clock', async () => {
  const dates: string[] = [];
  const onDate = (date: string) => dates.push(date);
  const proxy = proxyTo(upstream.url, await Town.open(), undefined, { onDate });
  const response = await fetch(`${await open(proxy)}/v1/messages`, CALL);
  await response.text();
  await until(() => proxy.inFlight === 0);
  expect(proxy.heldBytes).toBe(0);
  expect(dates).toEqual([response.headers.get('date')]);
});

it.each([
  ['anthropic', ANTHROPIC, '/v1/responses?x=/v1/messages', 'openai'],
  [
    'openai',
    openAiDialect({ streamUsage: 'leave', cachedInput: 'counted' }),
    '/v1/messages',
    'anthropic',
  ],
] as const)(
  'what dialect %s lets pass unmetered is told once it has succeeded, once, if another would meter it',
  async (name, dialect, path, other) => {
    const lines: unknown[] = [];
    const log = { ...SILENT_LOG, warn: (_: string, fields?: object) => lines.push(fields) };
    const proxy = proxyTo(upstream.url, await Town.open(), dialect, { log });
    const url = await open(proxy);
    const call = async (to: string, method = 'POST') =>
      (await fetch(`${url}${to}`, method === 'POST' ? CALL : { method })).text();
    await call('/v1/models', 'GET');
    await call(path, 'GET');
    await call('/v1/files');
    upstream.answer = (_, response) => void response.writeHead(404).end();
    await call(path);
    expect([...proxy.tally.missed]).toEqual([]);
    upstream.answer = (_, response) => void response.writeHead(200).end('{}');
    await Promise.all([call(path), call(path)]);
    expect([...proxy.tally.missed]).toEqual([['api', other]]);
    await call(path);
    expect(lines).toEqual([{ upstream: 'api', dialect: name, other }]);
  },
);

it('a client that leaves before its request is admitted sends nothing, and pays nothing', async () => {
  let admit = () => {};
  const settled: unknown[] = [];
  const admission = { estimate: { inputTokens: 1, outputTokens: 1 } };
  const governor = {
    scopes: [SCOPE],
    admit: () =>
      new Promise((resolve) => {
        admit = () => resolve({ kind: 'admitted', admission, observed: null });
      }),
    settle: (...all: unknown[]) => settled.push(all),
  } as unknown as Governor;
  const proxy = proxyTo(upstream.url, await Town.open(), undefined, { governor });
  const wire = await Wire.open(await open(proxy));
  const before = admit;
  const [socket] = await socketsOf(async () => {
    await wire.write('POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}');
    await until(() => admit !== before);
  });
  wire.destroy();
  await until(() => socket?.closed === true);
  admit();
  await until(() => proxy.inFlight === 0);
  expect(settled).toEqual([[admission, { kind: 'not-sent' }]]);
  expect(upstream.seen).toEqual([]);
});

it('a client that falls silent in the middle of an upload is cut off, and no other', async () => {
  const town = await Town.open();
  const proxy = proxyTo(upstream.url, town);
  const wire = await Wire.open(await open(proxy));
  const [socket] = await socketsOf(async () => {
    await wire.write('PUT /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n');
    await until(() => proxy.inFlight === 1);
  });
  for (let minute = 0; minute < 5; minute += 1) {
    const read = socket?.bytesRead;
    await wire.write('x');
    await until(() => socket?.bytesRead !== read);
    town.time.advance(IDLE_MS);
    expect(socket?.destroyed).toBe(false);
  }
  town.time.advance(IDLE_MS);
  await wire.isOver();
  await until(() => proxy.inFlight === 0);
  expect(upstream.seen).toEqual([]);
});

it('a client that falls silent in the middle of a metered request is cut off', async () => {
  const proxy = proxyTo(upstream.url, await Town.open());
  const wire = await Wire.open(await open(proxy));
  const [socket] = await socketsOf(async () => {
    await wire.write('POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{}');
    await until(() => proxy.heldBytes === 9);
  });
  // What Node does after so long without a byte.
  socket?.emit('timeout');
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

import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SILENT_LOG } from '../../src/platform/log.js';
import { UNREAD_MS } from '../../src/proxy/unread-watch.js';
import type { UpstreamProxy } from '../../src/proxy/upstream-proxy.js';
import { Town } from '../governor/support.js';
import { FakeUpstream, STREAM_HEADERS, streamEvents } from '../support/fake-upstream.js';
import { until } from '../support/until.js';
import { Wire } from '../support/wire.js';
import { proxyTo } from './support.js';

const MIB = 1024 * 1024;
const CALL = 'POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\n{"model":"m"}';
const GET = 'GET /v1/files/f/content HTTP/1.1\r\nHost: x\r\n\r\n';

let town: Town;
let upstream: FakeUpstream;
let proxy: UpstreamProxy;
let wire: Wire;
let told: unknown[];

beforeEach(async () => {
  told = [];
  town = await Town.open();
  upstream = await FakeUpstream.open();
  const warn = (message: string, fields?: object) => told.push({ message, ...fields });
  proxy = proxyTo(upstream.url, town, undefined, { log: { ...SILENT_LOG, warn } });
  const [address] = await proxy.listen();
  wire = await Wire.open(`http://127.0.0.1:${address?.port}`);
});

afterEach(async () => {
  wire.destroy();
  await proxy.close();
  await upstream.close();
});

/** Sends as much as it gets rid of, until it is told to stop. */
function endless(response: ServerResponse): { sent: number; stop: () => void } {
  const flow = { sent: 0, stop: () => void (flowing = false) };
  let flowing = true;
  const piece = Buffer.alloc(65_536, ': nothing of use\n\n');
  const go = () => {
    while (flowing && !response.destroyed) {
      flow.sent += piece.length;
      if (!response.write(piece)) return void response.once('drain', go);
    }
  };
  go();
  return flow;
}

/** Waits until nothing moves any more: every buffer on the way is full. */
async function isStuck(flow: { readonly sent: number }): Promise<void> {
  let before = -1;
  let since = performance.now();
  await until(() => {
    if (flow.sent !== before) since = performance.now();
    before = flow.sent;
    return performance.now() - since > 200;
  }, 10_000);
}

/** Reads so much, and no more. */
async function read(bytes: number): Promise<void> {
  const enough = wire.seenBytes + bytes;
  wire.socket.resume();
  await until(() => wire.seenBytes >= enough);
  wire.socket.pause();
}

describe('a client that stops reading', () => {
  it('is cut off with its call to the upstream, and pays what is known', async () => {
    let flow!: ReturnType<typeof endless>;
    upstream.answer = (_request, response) => {
      response.writeHead(200, STREAM_HEADERS).write(streamEvents({ input: 100 })[0]);
      flow = endless(response);
    };
    wire.forget();
    await wire.write(CALL);
    await until(() => wire.seenBytes > 0);
    wire.socket.pause();
    await isStuck(flow);
    expect(flow.sent).toBeGreaterThan(MIB);
    town.time.advance(UNREAD_MS - 1);
    await new Promise(setImmediate);
    expect([upstream.aborted, proxy.inFlight]).toEqual([0, 1]);
    // The kernel took some after the client had fallen behind, so the first look finds nothing.
    town.time.advance(UNREAD_MS + 1);
    await until(() => proxy.inFlight === 0);
    await until(() => upstream.aborted === 1);
    await town.pass(250);
    expect(await town.limitView()).toMatchObject({ reserved: 0 });
    expect((await town.limitView()).used).toBeGreaterThanOrEqual(100);
    const message = 'the client has stopped reading its answer';
    expect(told).toEqual([{ message, upstream: 'api', requestId: expect.any(String) }]);
    expect(proxy.tally.unreadAnswers).toBe(1);
    wire.socket.resume();
    await until(() => wire.closed);
    expect(wire.error, 'no end that could be taken for one').toBe('ECONNRESET');
  });

  it('is not one that reads little by little, whatever it sends meanwhile', async () => {
    let flow!: ReturnType<typeof endless>;
    upstream.answer = (_request, response) => {
      response.writeHead(200, { 'content-type': 'application/octet-stream' });
      flow = endless(response);
    };
    wire.forget();
    await wire.write(GET);
    await read(1);
    for (let look = 0; look < 5; look += 1) {
      await isStuck(flow);
      await read(4 * MIB);
      town.time.advance(UNREAD_MS);
    }
    await isStuck(flow);
    town.time.advance(UNREAD_MS);
    expect(proxy.inFlight).toBe(1);
    // To send is not to read.
    await wire.write('GET');
    town.time.advance(UNREAD_MS);
    await until(() => proxy.inFlight === 0);
    expect(proxy.tally.unreadAnswers).toBe(1);
  });

  it('is not one that waits for an upstream that is silent, nor one that has read it all', async () => {
    let response!: ServerResponse;
    upstream.answer = (_request, its) => void (response = its);
    wire.forget();
    await wire.write(GET);
    await until(() => response !== undefined);
    const flow = endless(response.writeHead(200));
    await until(() => flow.sent > 8 * MIB);
    flow.stop();
    await until(() => !response.writableNeedDrain);
    for (let look = 0; look < 5; look += 1) town.time.advance(UNREAD_MS);
    expect(proxy.inFlight).toBe(1);
    response.end('the end');
    await until(() => proxy.inFlight === 0);
    for (let look = 0; look < 5; look += 1) town.time.advance(UNREAD_MS);
    expect(wire.closed).toBe(false);
    expect(proxy.tally.unreadAnswers).toBe(0);
    expect(town.time.pending, 'nobody looks any more').toBe(0);
  });

  it('is not waited for when its answer has ended, either', async () => {
    let server!: Socket;
    // The upstream's own is the second.
    const take = (message: unknown) => (server ??= (message as { socket: Socket }).socket);
    subscribe('http.server.request.start', take);
    let response!: ServerResponse;
    upstream.answer = (_request, its) => void (response = its);
    await wire.write(GET);
    await until(() => response !== undefined);
    unsubscribe('http.server.request.start', take);
    wire.socket.pause();
    // Until the kernel takes no more, and no further: the upstream is not behind yet.
    while (server.writableLength === 0) {
      response.write(Buffer.alloc(16_384));
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    response.end();
    await once(response, 'finish');
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(proxy.inFlight).toBe(1);
    town.time.advance(2 * UNREAD_MS);
    await until(() => proxy.inFlight === 0);
    expect(server.destroyed).toBe(true);
    expect(proxy.tally.unreadAnswers).toBe(1);
  });
});

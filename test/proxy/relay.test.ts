import { randomBytes } from 'node:crypto';
import zlib from 'node:zlib';
import type { Dispatcher } from 'undici';
import { afterEach, describe, expect, it } from 'vitest';
import { ANTHROPIC } from '../../src/dialects/anthropic/anthropic-dialect.js';
import type { ShapedAnswer } from '../../src/dialects/dialect.js';
import { UsageChunkFilter } from '../../src/dialects/openai/usage-chunk-filter.js';
import type { Admission } from '../../src/governor/admission.js';
import type { Governor } from '../../src/governor/governor.js';
import type { Settlement } from '../../src/governor/settlement.js';
import { SILENT_LOG } from '../../src/platform/log.js';
import { SYSTEM_TIMERS, type Timers } from '../../src/platform/timers.js';
import { type Exchange, LINGER_MS } from '../../src/proxy/exchange.js';
import { Listener } from '../../src/proxy/listener.js';
import { Relay } from '../../src/proxy/relay.js';
import type { NoAnswer } from '../../src/proxy/upstream-failure.js';
import { messageText } from '../support/fake-upstream.js';
import { ManualTime } from '../support/manual-time.js';
import { Wire } from '../support/wire.js';

const MIB = 1024 * 1024;
/** Exchanges under way. */
const FEW = 1;
const MANY = 100;

/** Stands for undici's side of one request. */
class Controller implements Dispatcher.DispatchController {
  aborted = false;
  paused = false;
  reason: Error | null = null;
  resumed = 0;
  rawHeaders: string[] = [];
  constructor(private readonly relay: Relay) {}

  abort(reason: Error): void {
    if (this.aborted) return;
    this.aborted = true;
    this.reason = reason;
    this.relay.onResponseError(this, reason);
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    if (this.paused) this.resumed += 1;
    this.paused = false;
  }
}

let listener: Listener | null = null;
afterEach(() => {
  return listener?.close();
});

/** A relay for a client's request, on a connection that is real, and a governor that takes notes. */
async function openRelay({
  metered = true,
  timeoutMs = 60_000,
  timers = SYSTEM_TIMERS as Timers,
  shaped = null as ShapedAnswer | null,
  underWay = FEW,
  request = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n',
} = {}) {
  const settled: Settlement[] = [];
  const governor = {
    succeeded: () => {},
    amend: () => {},
    settle: (_admission: Admission, settlement: Settlement) => settled.push(settlement),
  };
  const failures: NoAnswer[] = [];
  const state = { dispatched: 0, done: 0, rejected: 0 };
  const exchanges: Exchange[] = [];
  listener = new Listener({
    dialect: ANTHROPIC,
    timers,
    log: SILENT_LOG,
    nextRequestId: () => 'tg_1',
    onExchange: (exchange) => exchanges.push(exchange),
    onUnread: () => {},
  });
  const { port } = await listener.open({ host: '127.0.0.1', port: 0 });
  const client = await Wire.open(`http://127.0.0.1:${port}`);
  await client.write(request);
  await expect.poll(() => exchanges.length).toBe(1);
  const relay = new Relay({
    exchange: exchanges[0]!,
    dialect: ANTHROPIC,
    governor: governor as unknown as Governor,
    admission: metered ? ({} as Admission) : null,
    timers,
    underWay: { size: underWay },
    timeoutMs,
    now: () => 0,
    shaped,
    onHead: () => {},
    onRelayed: () => {},
    dispatch: () => (state.dispatched += 1),
    onNoAnswer: (failure) => failures.push(failure),
    onDone: (rejected) => {
      state.done += 1;
      state.rejected += rejected ? 1 : 0;
    },
  });
  relay.send();
  const controller = new Controller(relay);
  return {
    relay,
    client,
    exchanges,
    exchange: exchanges[0]!,
    state,
    settled,
    failures,
    controller,
  };
}

const UNSHAPED: ShapedAnswer = {
  openFilter: () => null,
  mayReject: (status) => status === 400,
  isRejected: (body) => body.startsWith('unknown field'),
  undo: (body) => body,
};

const reset = () => Object.assign(new Error('reset'), { code: 'ECONNRESET' });

describe('a relay', () => {
  it('whose client leaves while the request waits for a connection is over at once', async () => {
    const { relay, client, state, settled, failures, controller } = await openRelay();
    client.destroy();
    await expect.poll(() => state.done).toBe(1);
    expect(settled).toEqual([{ kind: 'not-sent' }]);
    relay.onRequestStart(controller);
    expect(controller.aborted, 'nothing is sent later').toBe(true);
    expect([state.done, settled.length, failures.length]).toEqual([1, 1, 0]);
  });

  it('does not go on for the decoder while the client is behind', async () => {
    const { relay, client, controller } = await openRelay();
    client.socket.pause();
    relay.onRequestStart(controller);
    relay.onResponseStart(controller, 200, { 'content-encoding': 'gzip' });
    relay.onResponseData(controller, zlib.gzipSync(randomBytes(16 * MIB)));
    expect(controller.paused).toBe(true);
    // The decoder needs a moment for it; the client takes nothing.
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(controller.resumed).toBe(0);
    client.forget();
    client.socket.resume();
    await expect.poll(() => controller.resumed).toBe(1);
    controller.abort(new Error('enough'));
  });

  it('does not go on for the client while the decoder is behind', async () => {
    const { relay, client, exchange, controller } = await openRelay();
    relay.onRequestStart(controller);
    relay.onResponseStart(controller, 200, { 'content-encoding': 'gzip' });
    // Little to relay, and much to decode.
    relay.onResponseData(controller, zlib.gzipSync(Buffer.alloc(256 * MIB)));
    expect(controller.paused).toBe(true);
    const atDrain = await new Promise((resolve) => {
      exchange.response.once('drain', () => resolve(controller.resumed));
    });
    expect(atDrain).toBe(0);
    await expect.poll(() => controller.resumed, { timeout: 20_000 }).toBe(1);
    controller.abort(new Error('enough'));
    client.destroy();
  });

  it('goes on after the client’s drain and not within it: another answer may be its cause', async () => {
    const { relay, client, exchange, controller } = await openRelay();
    client.socket.pause();
    relay.onRequestStart(controller);
    relay.onResponseStart(controller, 200, {});
    relay.onResponseData(controller, randomBytes(16 * MIB));
    expect(controller.paused).toBe(true);
    exchange.response.emit('drain');
    expect(controller.resumed).toBe(0);
    await Promise.resolve();
    expect(controller.resumed).toBe(1);
    controller.abort(new Error('enough'));
    client.destroy();
  });

  it('does not go on once its answer has ended: the connection is another’s by then', async () => {
    const { relay, client, exchange, controller } = await openRelay();
    client.socket.pause();
    relay.onRequestStart(controller);
    relay.onResponseStart(controller, 200, {});
    relay.onResponseData(controller, randomBytes(16 * MIB));
    exchange.response.emit('drain');
    relay.onResponseEnd();
    await Promise.resolve();
    expect(controller.resumed).toBe(0);
    client.destroy();
  });

  it('pauses as soon as the client is behind with small pieces', async () => {
    const { relay, client, exchange, controller } = await openRelay();
    client.socket.pause();
    relay.onRequestStart(controller);
    relay.onResponseStart(controller, 200, {});
    while (!exchange.response.writableNeedDrain) {
      expect(controller.paused).toBe(false);
      relay.onResponseData(controller, Buffer.alloc(4_096));
      await Promise.resolve();
    }
    expect(controller.paused).toBe(true);
    controller.abort(new Error('enough'));
    client.destroy();
  });

  it('loses nothing of an answer that ends with its connection while the request is uploaded', async () => {
    const request = 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n';
    const { relay, client, controller } = await openRelay({ request });
    relay.onRequestStart(controller);
    relay.onResponseStart(controller, 401, {});
    relay.onResponseData(controller, Buffer.from('last words'));
    relay.onResponseEnd();
    await client.write('rest');
    await client.isOver();
    expect(await client.answer()).toMatchObject({ status: 401, framing: 'close' });
    expect(client.text).toMatch(/\r\n\r\nlast words$/);
  });

  it('takes an answer that was cut for one that may have cost more', async () => {
    for (const [end, complete] of [
      ['whole', true],
      ['cut', false],
    ] as const) {
      const { relay, client, settled, controller } = await openRelay();
      relay.onRequestStart(controller);
      relay.onResponseStart(controller, 200, { 'content-type': 'application/json' });
      relay.onResponseData(controller, Buffer.from(messageText({ input: 3, output: 4 })));
      if (end === 'whole') relay.onResponseEnd();
      else relay.onResponseError(controller, reset());
      await expect.poll(() => settled).toMatchObject([{ kind: 'success', complete }]);
      client.destroy();
    }
  });

  it('holds nothing back of a coded answer, in which there is nothing to be found', async () => {
    const shaped = { ...UNSHAPED, openFilter: () => new UsageChunkFilter() };
    const { relay, client, controller } = await openRelay({ shaped });
    relay.onRequestStart(controller);
    controller.rawHeaders = ['Content-Length', '100'];
    relay.onResponseStart(controller, 200, { 'content-length': '100', 'content-encoding': 'gzip' });
    relay.onResponseData(controller, Buffer.from('coded bytes without a line'));
    await client.says(/Content-Length: 100\r\n[^]*coded bytes without a line/);
    controller.abort(new Error('enough'));
    client.destroy();
  });

  it('takes nothing out of an answer that is no success', async () => {
    const shaped = { ...UNSHAPED, openFilter: () => new UsageChunkFilter() };
    const { relay, client, controller } = await openRelay({ shaped });
    relay.onRequestStart(controller);
    controller.rawHeaders = ['Content-Length', '6'];
    relay.onResponseStart(controller, 404, { 'content-length': '6' });
    relay.onResponseData(controller, Buffer.from('data: '));
    relay.onResponseEnd();
    expect(await client.answer()).toMatchObject({ status: 404, framing: 'length' });
    client.destroy();
  });

  describe.each([FEW, MANY])('whose answer breaks off, one of %i under way,', (underWay) => {
    it('has its client get what came in the same turn, and no clean end', async () => {
      const { relay, client, controller } = await openRelay({ underWay });
      relay.onRequestStart(controller);
      relay.onResponseStart(controller, 200, { 'transfer-encoding': 'chunked' });
      relay.onResponseData(controller, Buffer.from('half of it'));
      relay.onResponseError(controller, reset());
      await client.isOver();
      expect(client.text).toMatch(/^HTTP\/1\.1 200 [^]*\r\n\r\na\r\nhalf of it\r\n$/);
      expect([client.ended, client.error]).toEqual([true, null]);
    });

    it('has its client get what a filter holds', async () => {
      const shaped = { ...UNSHAPED, openFilter: () => new UsageChunkFilter() };
      const { relay, client, controller } = await openRelay({ underWay, shaped });
      relay.onRequestStart(controller);
      relay.onResponseStart(controller, 200, { 'transfer-encoding': 'chunked' });
      relay.onResponseData(controller, Buffer.from('data: {"choices":[1]}\n\n'));
      await client.says('[1]');
      relay.onResponseData(controller, Buffer.from('data: {"error":'));
      relay.onResponseError(controller, reset());
      await client.isOver();
      expect(client.text).toMatch(/data: \{"error":\r\n$/);
    });

    it('has a client that still uploads get it all, too', async () => {
      const head = 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n';
      const timers = new ManualTime();
      const opened = await openRelay({ underWay, timers, request: head });
      const { relay, client, controller } = opened;
      // A connection that closes on these is reset.
      client.socket.write(Buffer.alloc(MIB));
      relay.onRequestStart(controller);
      relay.onResponseStart(controller, 200, { 'transfer-encoding': 'chunked' });
      relay.onResponseData(controller, Buffer.from('half of it'));
      relay.onResponseError(controller, reset());
      await client.isOver();
      expect(client.text).toMatch(/half of it\r\n$/);
      // More than the kernels take: it is read.
      await client.write(Buffer.alloc(32 * MIB));
      client.end();
      await expect.poll(() => client.closed).toBe(true);
      expect([client.ended, client.error]).toEqual([true, null]);
    });

    it('is the last on its connection, whatever follows the rest of the upload', async () => {
      const request = 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n';
      const { relay, client, exchanges, controller } = await openRelay({ underWay, request });
      relay.onRequestStart(controller);
      relay.onResponseStart(controller, 200, { 'transfer-encoding': 'chunked' });
      relay.onResponseError(controller, reset());
      await client.isOver();
      await client.write('restGET / HTTP/1.1\r\nHost: x\r\n\r\n');
      client.end();
      await expect.poll(() => client.closed).toBe(true);
      expect(exchanges).toHaveLength(1);
    });

    it('has its client get the head, if that is all there is', async () => {
      const { relay, client, controller } = await openRelay({ underWay });
      relay.onRequestStart(controller);
      relay.onResponseStart(controller, 200, { 'content-length': '5' });
      relay.onResponseError(controller, reset());
      await client.isOver();
      expect(client.text).toMatch(/^HTTP\/1\.1 200 /);
    });

    it('has a client that is behind get all that there is', async () => {
      const { relay, client, exchange, controller } = await openRelay({ underWay });
      client.socket.pause();
      relay.onRequestStart(controller);
      relay.onResponseStart(controller, 200, { 'transfer-encoding': 'chunked' });
      relay.onResponseData(controller, randomBytes(16 * MIB));
      relay.onResponseData(controller, Buffer.from('last words'));
      expect(controller.paused).toBe(true);
      relay.onResponseError(controller, reset());
      client.forget();
      client.socket.resume();
      await client.isOver();
      expect(client.seenBytes).toBeGreaterThan(16 * MIB + 10);
      await expect.poll(() => exchange.over).toBe(true);
    });

    it('does not wait for ever for a client that takes nothing', async () => {
      const time = new ManualTime();
      const { relay, client, exchange, controller } = await openRelay({ underWay, timers: time });
      client.socket.pause();
      relay.onRequestStart(controller);
      relay.onResponseStart(controller, 200, { 'transfer-encoding': 'chunked' });
      relay.onResponseData(controller, randomBytes(16 * MIB));
      relay.onResponseError(controller, reset());
      expect(exchange.over).toBe(false);
      time.advance(LINGER_MS);
      await expect.poll(() => exchange.over).toBe(true);
      client.destroy();
    });
  });

  it('gives up an upstream that only says that it works, but not while the request is uploaded', async () => {
    const request = 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n';
    const { relay, client, exchange, controller } = await openRelay({ request, timeoutMs: 1 });
    const waits = async () => {
      relay.onResponseStart(controller, 102, {});
      const from = performance.now();
      await expect.poll(() => performance.now() - from).toBeGreaterThan(2);
      relay.onResponseStart(controller, 102, {});
    };
    relay.onRequestStart(controller);
    await waits();
    expect(controller.aborted).toBe(false);
    await client.write('{}');
    exchange.request.resume();
    await expect.poll(() => exchange.request.complete).toBe(true);
    await waits();
    expect(controller.reason?.name).toBe('HeadersTimeoutError');
    client.destroy();
  });

  it('reads the usage as the path has it', async () => {
    const request = 'POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n';
    const { relay, client, settled, controller } = await openRelay({ request });
    relay.onRequestStart(controller);
    relay.onResponseStart(controller, 200, { 'content-type': 'application/json' });
    relay.onResponseData(
      controller,
      Buffer.from('{"usage":{"prompt_tokens":7,"completion_tokens":2}}'),
    );
    relay.onResponseEnd();
    await expect.poll(() => settled.length).toBe(1);
    expect(settled[0]).toMatchObject({ complete: true, inputTokens: 7, outputTokens: 2 });
    client.destroy();
  });

  it.each([FEW, MANY])('of %i settles once, whatever comes after the end', async (underWay) => {
    const { relay, client, state, settled, controller } = await openRelay({ underWay });
    relay.onRequestStart(controller);
    relay.onResponseStart(controller, 200, {});
    relay.onResponseEnd();
    relay.onResponseError(controller, reset());
    client.destroy();
    await expect.poll(() => state.done).toBe(1);
    relay.onResponseEnd();
    expect([settled.length, state.done]).toEqual([1, 1]);
  });

  it.each([FEW, MANY])('of %i settles after its answer has left', async (underWay) => {
    const { relay, client, exchange, settled, controller } = await openRelay({ underWay });
    const settledAtEnd: number[] = [];
    const end = exchange.end.bind(exchange);
    exchange.end = (rest) => {
      settledAtEnd.push(settled.length);
      end(rest);
    };
    relay.onRequestStart(controller);
    relay.onResponseStart(controller, 200, { 'content-length': '5' });
    relay.onResponseData(controller, Buffer.from('whole'));
    relay.onResponseEnd();
    await client.says('whole');
    await expect.poll(() => settled.length).toBe(1);
    expect(settledAtEnd).toEqual([0]);
    client.destroy();
  });

  it('of many settles, though its client leaves before its answer does', async () => {
    const { relay, client, exchange, state, settled, controller } = await openRelay({
      underWay: MANY,
    });
    relay.onRequestStart(controller);
    relay.onResponseStart(controller, 200, {});
    relay.onResponseData(controller, Buffer.from('whole'));
    relay.onResponseEnd();
    exchange.leave();
    expect([settled.length, state.done]).toEqual([0, 0]);
    await expect.poll(() => state.done).toBe(1);
    expect([settled.length, controller.aborted]).toEqual([1, false]);
    client.destroy();
  });

  it('takes headers that can not be said for no answer, and stops the upstream', async () => {
    const { relay, client, exchange, state, failures, controller } = await openRelay({
      metered: false,
    });
    relay.onRequestStart(controller);
    controller.rawHeaders = ['X-Odd', 'a\u{1f600}b'];
    relay.onResponseStart(controller, 200, {}, 'Fine');
    relay.onResponseData(controller, Buffer.from('body'));
    expect(controller.aborted).toBe(true);
    await expect.poll(() => state.done).toBe(1);
    expect(failures).toMatchObject([{ sent: true, error: { code: 'ERR_INVALID_CHAR' } }]);
    exchange.answer({ kind: 'upstream-unreachable', message: 'no' }, { close: false });
    expect(await client.answer()).toMatchObject({ status: 502, reason: 'Bad Gateway' });
  });

  it('tries once more when the connection died before anything was sent', async () => {
    const { relay, state, failures, controller } = await openRelay();
    relay.onResponseError(controller, reset());
    await expect.poll(() => state.dispatched).toBe(2);
    relay.onResponseError(controller, reset());
    await expect.poll(() => state.done).toBe(1);
    expect(state.dispatched).toBe(2);
    expect(failures).toMatchObject([{ sent: false }]);
  });

  it('tries nothing again for a client that has left meanwhile', async () => {
    const { relay, client, exchange, state, settled, controller } = await openRelay();
    relay.onResponseError(controller, reset());
    exchange.leave();
    await expect.poll(() => state.done).toBe(1);
    expect([state.dispatched, settled]).toEqual([1, [{ kind: 'not-sent' }]]);
    client.destroy();
  });

  it('tries nothing again of which the upstream may have seen a byte', async () => {
    const { relay, state, settled, controller } = await openRelay();
    relay.onRequestStart(controller);
    relay.onResponseError(controller, reset());
    await expect.poll(() => state.done).toBe(1);
    expect(state.dispatched).toBe(1);
    expect(settled).toEqual([{ kind: 'no-answer' }]);
  });

  describe('of an answer that may be due to what was added', () => {
    const begun = async (status: number, start: string) => {
      const opened = await openRelay({ shaped: UNSHAPED });
      opened.relay.onRequestStart(opened.controller);
      opened.relay.onResponseStart(opened.controller, status, { 'transfer-encoding': 'chunked' });
      opened.relay.onResponseData(opened.controller, Buffer.from(start));
      return opened;
    };

    it('lets the client see nothing, if it is', async () => {
      const { relay, client, exchange, state, settled, controller } = await begun(400, 'unknown ');
      relay.onResponseData(controller, Buffer.from('field'));
      relay.onResponseEnd();
      await expect.poll(() => state.done).toBe(1);
      expect([state.rejected, controller.aborted]).toEqual([1, false]);
      expect(settled).toEqual([{ kind: 'not-a-success' }]);
      expect([exchange.over, exchange.response.headersSent, client.text]).toEqual([
        false,
        false,
        '',
      ]);
      client.destroy();
    });

    it('reads no more than it needs, and leaves the rest', async () => {
      const { relay, client, state, settled, controller } = await begun(400, 'unknown field ');
      for (let n = 0; n < 16; n += 1) {
        expect(controller.paused, `after ${n} pieces`).toBe(false);
        relay.onResponseData(controller, Buffer.alloc(4_096, 'x'));
      }
      expect(controller.paused).toBe(true);
      await expect.poll(() => state.done).toBe(1);
      expect([state.rejected, controller.aborted, settled.length]).toEqual([1, true, 1]);
      client.destroy();
    });

    it('passes it on whole, if it is not', async () => {
      const { relay, client, state, settled, controller } = await begun(400, 'no ');
      relay.onResponseData(controller, Buffer.from('messages'));
      relay.onResponseEnd();
      const { status, body } = await client.answer();
      expect([status, body.toString()]).toEqual([400, 'no messages']);
      await expect.poll(() => state.done).toBe(1);
      expect([state.rejected, settled]).toEqual([0, [{ kind: 'not-a-success' }]]);
    });

    it('goes on with the rest of it, if it is not, though the client keeps up', async () => {
      const { relay, client, exchange, controller } = await begun(400, 'no field ');
      // As if everything had gone out at once: no drain follows.
      exchange.response.write = () => true;
      for (let n = 0; n < 16; n += 1) {
        relay.onResponseData(controller, Buffer.alloc(4_096, 'x'));
      }
      expect(controller.paused).toBe(true);
      await expect.poll(() => controller.resumed).toBe(1);
      controller.abort(new Error('enough'));
      client.destroy();
    });

    it('begins no answer for a client that has left', async () => {
      const { exchange, state, client } = await begun(400, 'no field');
      client.destroy();
      await expect.poll(() => state.done).toBe(1);
      expect(exchange.response.headersSent).toBe(false);
    });

    it('keeps nothing back of a status that can not be that', async () => {
      const { client, state, controller } = await begun(404, 'unknown field');
      await client.says('unknown field');
      client.destroy();
      await expect.poll(() => state.done).toBe(1);
      expect([state.rejected, controller.aborted]).toEqual([0, true]);
    });
  });
});

import { randomBytes } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import zlib from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { STREAM_HEADERS, streamEvents } from '../support/fake-upstream.js';
import { useGateway } from '../support/gateway.js';
import { until } from '../support/until.js';

const MIB = 1024 * 1024;
const CALL = 'POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}';
const COST = { input: 1_000, output: 200 };

describe('a stream', () => {
  const gateway = useGateway();

  /** The upstream's side of the next stream, once its headers are out. */
  function nextStream(headers: Record<string, string> = STREAM_HEADERS): Promise<ServerResponse> {
    return new Promise((resolve) => {
      gateway.upstream.answer = (_request, response) => {
        response.writeHead(200, headers).flushHeaders();
        resolve(response);
      };
    });
  }

  it('comes event by event, at the pace of the upstream', async () => {
    const before = await gateway.settledUse();
    const opened = nextStream();
    const wire = await gateway.connect();
    await wire.write(CALL);
    const stream = await opened;
    await wire.says('\r\n\r\n');
    expect(wire.text, 'headers come before the first event').toMatch(/^HTTP\/1\.1 200 OK/);
    const events = streamEvents(COST, 5).flatMap((event, index) => [
      event,
      index % 2 === 0 ? ': a comment\n\n' : 'event: ping\ndata: {"type": "ping"}\n\n',
    ]);
    for (const event of events) {
      // The next one is written only once this one was seen.
      stream.write(event);
      await wire.says(event);
    }
    stream.end();
    const answer = await wire.answer();
    expect(answer.body.toString()).toBe(events.join(''));
    wire.destroy();
    await gateway.charges(before, COST.input + COST.output);
  });

  it('is charged with its real input as soon as that is known', async () => {
    const before = await gateway.settledUse();
    const opened = nextStream();
    const wire = await gateway.connect();
    await wire.write(CALL);
    const stream = await opened;
    const [start, ...rest] = streamEvents({ input: 500_000, output: 7 });
    stream.write(start);
    await until(async () => (await gateway.limit()).used >= before + 500_000);
    expect((await gateway.limit()).reserved).toBeGreaterThanOrEqual(500_000);
    stream.end(rest.join(''));
    await gateway.charges(before, 500_007);
    wire.destroy();
  });

  it('has the same bytes and the same charge however it is cut into chunks', async () => {
    const whole = Buffer.from(`\u{feff}${streamEvents(COST, 40).join('')}: é\u{1f600}\r\n\r\n`);
    for (const size of [1, 2, 3, 7, 64, 1_000, whole.length]) {
      const before = await gateway.settledUse();
      gateway.upstream.answer = async (_request, response) => {
        response.writeHead(200, STREAM_HEADERS);
        response.socket?.setNoDelay(true);
        for (let at = 0; at < whole.length; at += size) {
          response.write(whole.subarray(at, at + size));
          if (at % 64 === 0) await new Promise(setImmediate);
        }
        response.end();
      };
      const answer = await gateway.exchange(CALL);
      expect(answer.body.equals(whole), `in chunks of ${size}`).toBe(true);
      await gateway.charges(before, COST.input + COST.output);
    }
  });

  it('may pause', async () => {
    const opened = nextStream();
    const wire = await gateway.connect();
    await wire.write(CALL);
    const stream = await opened;
    const events = streamEvents(COST);
    for (const event of events) {
      stream.write(event);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    stream.end();
    expect((await wire.answer()).body.toString()).toBe(events.join(''));
    wire.destroy();
  });

  it('interleaves with others on other connections', async () => {
    const streams: ServerResponse[] = [];
    gateway.upstream.answer = (_request, response) => {
      response.writeHead(200, STREAM_HEADERS).flushHeaders();
      streams.push(response);
    };
    const wires = await Promise.all(Array.from({ length: 50 }, () => gateway.connect()));
    for (const wire of wires) void wire.write(CALL);
    await until(() => streams.length === wires.length);
    for (const [index, stream] of streams.entries()) stream.write(`data: ${index}\n\n`);
    await Promise.all(wires.map((wire) => wire.says(/data: \d+\n\n/)));
    for (const stream of streams) stream.end();
    const bodies = await Promise.all(wires.map(async (wire) => (await wire.answer()).body));
    expect(bodies.map(String).toSorted()).toEqual(
      streams.map((_, index) => `data: ${index}\n\n`).toSorted(),
    );
    for (const wire of wires) wire.destroy();
  });
});

describe('a client that does not read', () => {
  const gateway = useGateway();

  /** Writes `total` bytes as fast as they are taken; `written` are those that it could get rid of. */
  function flood(piece: Buffer, total: number, headers: Record<string, string>) {
    const state = { written: 0, blocked: false, done: false };
    gateway.upstream.answer = async (_request, response) => {
      response.writeHead(200, headers);
      while (state.written < total && !response.destroyed) {
        state.written += piece.length;
        state.blocked = !response.write(piece);
        if (state.blocked) await drained(response);
      }
      response.end();
      state.done = true;
    };
    return state;
  }

  /** Nothing has moved for a while. */
  async function stalls(state: { written: number; blocked: boolean }): Promise<void> {
    let last = -1;
    let since = performance.now();
    await until(() => {
      if (last !== state.written) since = performance.now();
      last = state.written;
      return state.blocked && performance.now() - since > 300;
    }, 10_000);
  }

  const plain = { 'content-type': 'text/event-stream' };
  const noise = randomBytes(65_536);
  it.each([
    ['unmetered', '/v1/other', plain, noise],
    ['metered', '/v1/messages', plain, noise],
    // The decoder catches up time and again, and must not go on for the client that has not.
    ['decoded', '/v1/messages', { ...plain, 'content-encoding': 'gzip' }, zlib.gzipSync(noise)],
  ])('holds back the upstream: %s', async (_what, path, headers, piece) => {
    const total = 100 * MIB;
    const state = flood(piece, total, headers);
    const wire = await gateway.connect();
    wire.forget();
    const before = gateway.tidegate.rssBytes();
    wire.socket.pause();
    await wire.write(CALL.replace('/v1/messages', path));
    await stalls(state);
    expect(state.written).toBeLessThan(40 * MIB);
    expect((gateway.tidegate.rssBytes() - before) / MIB).toBeLessThan(60);
    wire.socket.resume();
    await until(() => state.done && wire.seenBytes > total, 20_000);
    wire.destroy();
  });

  it('costs a compressed stream none of its bytes, nor of its charge', async () => {
    const events = streamEvents(COST, 100_000);
    const bytes = zlib.gzipSync(events.join('') + noise.toString('base64').repeat(40));
    gateway.upstream.answer = async (_request, response) => {
      response.writeHead(200, { ...STREAM_HEADERS, 'content-encoding': 'gzip' });
      for (let at = 0; at < bytes.length; at += 65_536) {
        if (!response.write(bytes.subarray(at, at + 65_536))) await drained(response);
      }
      response.end();
    };
    const used = await gateway.settledUse();
    const answer = await gateway.exchange(CALL);
    expect(answer.body.equals(bytes)).toBe(true);
    await gateway.charges(used, COST.input + COST.output);
  });
});

/** Resolves when more can be written, or never will be. */
function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      response.off('drain', done).off('close', done);
      resolve();
    };
    response.on('drain', done).on('close', done);
  });
}

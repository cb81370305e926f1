import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HeldBodies, type HeldBody, type HoldOutcome } from '../../src/proxy/held-bodies.js';
import { Wire } from '../support/wire.js';

let server: Server;
let arrived: (request: IncomingMessage) => void;

beforeEach(async () => {
  server = createServer((request) => arrived(request));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});

afterEach(() => {
  server.closeAllConnections();
  server.close();
});

/** A request whose headers have come; the rest is said on the wire. */
async function begin(header: string): Promise<{ wire: Wire; request: IncomingMessage }> {
  const { port } = server.address() as AddressInfo;
  const wire = await Wire.open(`http://127.0.0.1:${port}`);
  const request = new Promise<IncomingMessage>((resolve) => (arrived = resolve));
  await wire.write(`POST / HTTP/1.1\r\nHost: x\r\n${header}\r\n\r\n`);
  return { wire, request: await request };
}

function bytesOf(outcome: HoldOutcome): string {
  expect(outcome.kind).toBe('held');
  return outcome.kind === 'held' ? outcome.body.bytes.toString() : '';
}

async function heldOf(bodies: HeldBodies, bytes: number): Promise<HeldBody> {
  const { wire, request } = await begin(`Content-Length: ${bytes}`);
  const outcome = bodies.hold(request);
  await wire.write('x'.repeat(bytes));
  const held = await outcome;
  if (held.kind !== 'held') throw new Error(held.kind);
  return held.body;
}

describe('a body on its way to the upstream', () => {
  it('is let go once it is sent, if it is large', async () => {
    const bodies = new HeldBodies();
    const body = await heldOf(bodies, 20_000);
    expect(body.lengthToState).toBe('20000');
    const outgoing = body.outgoing() as Iterable<Buffer>;
    body.sent();
    expect(bodies.heldBytes, 'an answer that comes before it is sent').toBe(20_000);
    expect(Buffer.concat([...outgoing])).toEqual(Buffer.from('x'.repeat(20_000)));
    expect(body.bytes.length).toBe(0);
    expect(bodies.heldBytes).toBe(20_000);
    body.sent();
    expect(bodies.heldBytes).toBe(0);
  });

  it('stays until the upstream answers, if it may have to be sent again', async () => {
    const bodies = new HeldBodies();
    const body = await heldOf(bodies, 20_000);
    const shaped = Buffer.alloc(20_000, 's');
    body.replace(shaped);
    expect(Buffer.concat([...body.outgoing()] as Buffer[])).toEqual(shaped);
    expect(body.bytes).toBe(shaped);
    const { heldAt } = body;
    const again = Buffer.alloc(20_000, 'a');
    body.restart(again);
    expect(body.heldAt).toBeGreaterThan(heldAt);
    const outgoing = body.outgoing() as Iterable<Buffer>;
    body.sent();
    expect(Buffer.concat([...outgoing])).toEqual(again);
    expect([body.bytes.length, bodies.heldBytes]).toEqual([0, 20_000]);
    body.sent();
    expect(bodies.heldBytes).toBe(0);
  });

  it('stays no longer than that', async () => {
    const bodies = new HeldBodies();
    const body = await heldOf(bodies, 20_000);
    body.replace(Buffer.alloc(20_000, 's'));
    expect([...body.outgoing()]).toHaveLength(1);
    body.sent();
    expect([body.bytes.length, bodies.heldBytes]).toEqual([0, 0]);
  });

  it('is counted until the end, if undici keeps it until then', async () => {
    const bodies = new HeldBodies();
    const body = await heldOf(bodies, 200);
    expect(body.lengthToState).toBeUndefined();
    expect(body.outgoing()).toBe(body.bytes);
    body.sent();
    expect(bodies.heldBytes).toBe(200);
    body.release();
    expect(bodies.heldBytes).toBe(0);
  });
});

describe('held bodies', () => {
  it('are whole, and give their room back once', async () => {
    const bodies = new HeldBodies();
    const { wire, request } = await begin('Content-Length: 6');
    const outcome = bodies.hold(request);
    await wire.write('abc');
    await wire.write('def');
    expect(bytesOf(await outcome)).toBe('abcdef');
    expect(bodies.heldBytes).toBe(6);
    const held = await outcome;
    if (held.kind === 'held') {
      held.body.release();
      held.body.release();
    }
    expect(bodies.heldBytes).toBe(0);
  });

  it('take the room of a stated length before it has come', async () => {
    const bodies = new HeldBodies({ mostBytes: 10 });
    const first = await begin('Content-Length: 6');
    const second = await begin('Content-Length: 6');
    const outcome = bodies.hold(first.request);
    let invited = false;
    expect(await bodies.hold(second.request, () => (invited = true))).toEqual({ kind: 'no-room' });
    expect(invited).toBe(false);
    await first.wire.write('abcdef');
    expect(bytesOf(await outcome)).toBe('abcdef');
  });

  it('that state no length are counted as they come', async () => {
    const bodies = new HeldBodies({ mostBytes: 10 });
    const first = await begin('Transfer-Encoding: chunked');
    const second = await begin('Transfer-Encoding: chunked');
    const outcomes = [bodies.hold(first.request), bodies.hold(second.request)] as const;
    await first.wire.write('6\r\nabcdef\r\n');
    await expect.poll(() => bodies.heldBytes).toBe(6);
    await second.wire.write('6\r\nabcdef\r\n');
    expect(await outcomes[1]).toEqual({ kind: 'no-room' });
    expect(bodies.heldBytes, 'room of the refused one is free again').toBe(6);
    await first.wire.write('0\r\n\r\n');
    expect(bytesOf(await outcomes[0])).toBe('abcdef');
  });

  it.each(['Content-Length: 11', 'Transfer-Encoding: chunked'])(
    'have a largest size: %s',
    async (header) => {
      const bodies = new HeldBodies({ largestBytes: 10 });
      const { wire, request } = await begin(header);
      const outcome = bodies.hold(request);
      await wire.write('b\r\nhello world\r\n');
      expect(await outcome).toEqual({ kind: 'too-large', limitBytes: 10 });
      expect(bodies.heldBytes).toBe(0);
    },
  );

  describe('that come in one piece with their headers', () => {
    /** Held from the moment its headers are parsed, with all the rest in the same read. */
    async function holdAtOnce(bodies: HeldBodies, then: (request: IncomingMessage) => void) {
      const { port } = server.address() as AddressInfo;
      const wire = await Wire.open(`http://127.0.0.1:${port}`);
      const outcome = new Promise<HoldOutcome>((resolve) => {
        arrived = (request) => {
          resolve(bodies.hold(request));
          then(request);
        };
      });
      const head = 'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n';
      await wire.write(`${head}b\r\nhello world\r\n0\r\n\r\n`);
      return outcome;
    }

    it('have the same bounds', async () => {
      const small = new HeldBodies({ largestBytes: 10 });
      const tooLarge = { kind: 'too-large', limitBytes: 10 };
      expect(await holdAtOnce(small, () => {})).toEqual(tooLarge);
      const full = new HeldBodies({ mostBytes: 20 });
      expect(bytesOf(await holdAtOnce(full, () => {}))).toBe('hello world');
      expect(await holdAtOnce(full, () => {})).toEqual({ kind: 'no-room' });
      expect([small.heldBytes, full.heldBytes]).toEqual([0, 11]);
    });

    it('are given up if the client is gone by the end of the turn', async () => {
      const bodies = new HeldBodies();
      const gone = holdAtOnce(bodies, (request) => request.destroy());
      expect(await gone).toEqual({ kind: 'incomplete' });
      expect(bodies.heldBytes).toBe(0);
    });
  });

  it('in chunks of one byte take little more memory than they have bytes', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const takenBytes = () => {
      collect();
      const { heapUsed, external } = process.memoryUsage();
      return heapUsed + external;
    };
    const bodies = new HeldBodies();
    const { wire, request } = await begin('Transfer-Encoding: chunked');
    const outcome = bodies.hold(request);
    const before = takenBytes();
    const bytes = 100_000;
    await wire.write('1\r\nx\r\n'.repeat(bytes));
    await expect.poll(() => bodies.heldBytes, { timeout: 10_000 }).toBeGreaterThanOrEqual(bytes);
    expect(bodies.heldBytes).toBeLessThanOrEqual(2 * bytes);
    expect(takenBytes() - before).toBeLessThan(20 * bytes);
    await wire.write('0\r\n\r\n');
    expect(bytesOf(await outcome)).toBe('x'.repeat(bytes));
    expect(bodies.heldBytes).toBe(bytes);
  });

  it('of a client that leaves or falls silent are given up', async () => {
    const bodies = new HeldBodies({ idleMs: 50 });
    const leaving = await begin('Content-Length: 6');
    const left = bodies.hold(leaving.request);
    leaving.wire.destroy();
    expect(await left).toEqual({ kind: 'incomplete' });
    const silent = await begin('Content-Length: 6');
    const outcome = bodies.hold(silent.request);
    await silent.wire.write('abc');
    expect(await outcome).toEqual({ kind: 'incomplete' });
    expect(bodies.heldBytes).toBe(0);
  });

  it('that come a byte at a time are given up in the end', async () => {
    const bodies = new HeldBodies({ idleMs: 10_000, wholeMs: 100 });
    const { wire, request } = await begin('Content-Length: 1000000');
    let over = false;
    const outcome = bodies.hold(request).finally(() => (over = true));
    while (!over) {
      await wire.write('x');
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect(await outcome).toEqual({ kind: 'incomplete' });
    expect(bodies.heldBytes).toBe(0);
  });

  it('that are held are not given up while the answer takes its time', async () => {
    const bodies = new HeldBodies({ idleMs: 30 });
    const { wire, request } = await begin('Content-Length: 6');
    const outcome = bodies.hold(request);
    await wire.write('abcdef');
    await outcome;
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect([bodies.heldBytes, wire.ended]).toEqual([6, false]);
  });
});

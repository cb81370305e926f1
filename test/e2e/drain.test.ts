import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  FakeUpstream,
  jsonMessage,
  STREAM_HEADERS,
  streamEvents,
} from '../support/fake-upstream.js';
import { FullPipe } from '../support/full-pipe.js';
import { Gateway } from '../support/gateway.js';
import { expectRefusal } from '../support/local-answer.js';
import { TemporaryDirectory } from '../support/temporary-directory.js';
import { until } from '../support/until.js';
import type { Wire } from '../support/wire.js';

const MIB = 1024 * 1024;
const GET = 'GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n';
const head = (length: number) =>
  `POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: ${length}\r\n\r\n`;
const CALL = `${head(2)}{}`;
const CLEAN = { code: 0, signal: null };
const DRAINING = {
  status: 503,
  type: 'api_error',
  decision: 'state',
  blockedS: [0, 1],
  retryAfterS: [1, 1],
  retry: true,
} as const;

let gateway: Gateway;
beforeEach(() => {
  gateway = new Gateway();
});
afterEach(() => gateway.close());

/** Opens a stream through the proxy, and has its first event delivered. */
async function openStream(): Promise<{ client: Wire; stream: ServerResponse; rest: string[] }> {
  const [start, ...rest] = streamEvents({ input: 1_000, output: 50 });
  const opened = new Promise<ServerResponse>((resolve) => {
    gateway.upstream.answer = (_request, response) => {
      response.writeHead(200, STREAM_HEADERS).write(start);
      resolve(response);
    };
  });
  const client = await gateway.connect();
  await client.write(CALL);
  await client.says(start!);
  return { client, stream: await opened, rest };
}

/** Asks to stop, and waits until nothing is admitted any more. */
async function beginDrain(): Promise<void> {
  gateway.tidegate.child.kill('SIGTERM');
  await until(async () => {
    const ready = await fetch(`${gateway.tidegate.controlUrl}/health/ready`);
    return ready.status === 503 && (await ready.text()).includes('draining');
  });
}

/** What the next run finds: everything settled, nothing orphaned. */
async function expectCharge(tokens: number): Promise<void> {
  await gateway.start();
  expect(await gateway.limit()).toMatchObject({ used: tokens, reserved: 0, orphaned: 0 });
  expect((await gateway.tidegate.status()).recentStarts).toBe(2);
}

describe('a stop', () => {
  it('lets streams finish, and takes nothing new meanwhile', async () => {
    await gateway.open({});
    const kept = await gateway.connect();
    await kept.write(GET);
    expect((await kept.answer()).status).toBe(200);
    const { client, stream, rest } = await openStream();
    await beginDrain();
    const live = await fetch(`${gateway.tidegate.controlUrl}/health/live`);
    expect(live.status).toBe(200);

    const seen = gateway.upstream.seen.length;
    const late = await gateway.connect();
    for (const [wire, request] of [
      [kept, GET],
      [late, CALL],
    ] as const) {
      await wire.write(request);
      const answer = await wire.answer();
      expectRefusal(answer, DRAINING);
      expect(answer.headers.get('connection')).toBe('close');
      await wire.isOver();
    }
    expect(gateway.upstream.seen).toHaveLength(seen);

    for (const event of rest) {
      stream.write(event);
      await client.says(event);
    }
    stream.end();
    expect((await client.answer()).framing).toBe('chunked');
    expect(await gateway.tidegate.exited).toEqual(CLEAN);
    await expectCharge(1_050);
  });

  it('cuts what takes longer than TIDEGATE_DRAIN, and settles it', async () => {
    await gateway.open({ TIDEGATE_DRAIN: '300ms' });
    const { client } = await openStream();
    const asked = performance.now();
    gateway.tidegate.child.kill('SIGTERM');
    await client.isOver();
    expect(performance.now() - asked).toBeGreaterThan(290);
    await expect(client.answer()).rejects.toThrow('no whole answer');
    await until(() => gateway.upstream.aborted === 1);
    expect(await gateway.tidegate.exited).toEqual(CLEAN);
    expect(performance.now() - asked, 'no longer than a stop may take').toBeLessThan(5_000);
    // No text had come yet: the input, and the one token that message_start states.
    await expectCharge(1_001);
  });

  it('is one stop when it is asked for twice in a moment, as Ctrl-C does under npm', async () => {
    await gateway.open({});
    const { client, stream, rest } = await openStream();
    // Two of one kind might be merged on their way; two kinds never are.
    gateway.tidegate.child.kill('SIGINT');
    gateway.tidegate.child.kill('SIGTERM');
    await until(() => gateway.tidegate.err.includes('stopping'));
    for (const event of rest) stream.write(event);
    stream.end();
    expect((await client.answer()).framing).toBe('chunked');
    expect(await gateway.tidegate.exited).toEqual(CLEAN);
  });

  it('is over at once when it is asked for again, also where a disk hangs, and SQLite notices', async () => {
    gateway.directory = new TemporaryDirectory();
    gateway.upstream = await FakeUpstream.open(jsonMessage({ input: 60, output: 40 }));
    const full = new FullPipe(gateway.directory.at('access.log'));
    const store = { TIDEGATE_STATE: `sqlite:${gateway.directory.at('state.db')}` };
    await gateway.start({ ...store, TIDEGATE_ACCESS_LOG: full.path });
    await gateway.exchange(CALL);
    await gateway.settledUse();
    await openStream();
    await beginDrain();
    const asked = performance.now();
    // What follows within a second is the same request.
    await until(() => {
      gateway.tidegate.child.kill('SIGTERM');
      return gateway.tidegate.child.signalCode !== null;
    });
    expect(await gateway.tidegate.exited).toEqual({ code: null, signal: 'SIGKILL' });
    expect(performance.now() - asked).toBeLessThan(5_000);
    full.close();
    await gateway.start(store);
    expect(await gateway.tidegate.scope()).toMatchObject({ state: 'open' });
    // The stream's estimate stays charged: more than its call, and not less.
    const { used, orphaned } = await gateway.limit();
    expect(orphaned).toBeGreaterThan(0);
    expect(used).toBe(100 + orphaned);
    const told = gateway.tidegate.log().filter(({ level }) => level !== 'info');
    expect(told.map(({ message }) => message)).toEqual([
      'a charge will never settle: it counts until its window ends',
      'the run before this one did not stop cleanly',
    ]);
  });

  it('does not wait for connections on which nothing is asked', async () => {
    await gateway.open({});
    const wires = await Promise.all([gateway.connect(), gateway.connect(), gateway.connect()]);
    await wires[1]!.write(GET);
    await wires[1]!.answer();
    await wires[2]!.write('CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n');
    const asked = performance.now();
    expect(await gateway.tidegate.stop()).toEqual(CLEAN);
    // They would last for 75 s.
    expect(performance.now() - asked).toBeLessThan(15_000);
    expect(gateway.tidegate.log().map(({ level }) => level)).not.toContain('error');
    for (const wire of wires) wire.destroy();
  }, 20_000);

  it('waits until a slow client has got the last byte', async () => {
    await gateway.open({});
    const whole = Buffer.alloc(8 * MIB, 'x');
    gateway.upstream.answer = (_request, response) => void response.end(whole);
    const client = await gateway.connect();
    client.socket.pause();
    await client.write(GET);
    await until(() => gateway.upstream.seen.length === 1);
    await beginDrain();
    // Slower than all buffers on the way, so that they are full when the upstream is done.
    client.socket.on('data', () => {
      client.socket.pause();
      setTimeout(() => client.socket.resume(), 2);
    });
    client.socket.resume();
    expect((await client.answer()).body.equals(whole)).toBe(true);
    expect(await gateway.tidegate.exited).toEqual(CLEAN);
  });

  it('gives a client that still uploads the time to read its refusal', async () => {
    await gateway.open({});
    const client = await gateway.connect();
    await client.write(head(64 * MIB));
    expect((await client.answer()).status).toBe(413);
    await beginDrain();
    await client.write(Buffer.alloc(MIB));
    expect(client.error).toBeNull();
    client.end();
    expect(await gateway.tidegate.exited).toEqual(CLEAN);
  });

  it('refuses a request that was still uploading', async () => {
    await gateway.open({});
    const client = await gateway.connect();
    await client.write(`${head(4)}12`);
    // The connection is known to be at work once a later one has been served.
    await gateway.exchange(GET);
    await beginDrain();
    await client.write('34');
    const answer = await client.answer();
    expectRefusal(answer, DRAINING);
    expect(answer.headers.get('connection')).toBe('close');
    expect(await gateway.tidegate.exited).toEqual(CLEAN);
    expect(gateway.upstream.seen.filter(({ method }) => method === 'POST')).toEqual([]);
  });

  it('ends also where its disks hang, and loses nothing that was durable', async () => {
    gateway.directory = new TemporaryDirectory();
    gateway.upstream = await FakeUpstream.open(jsonMessage({ input: 60, output: 40 }));
    const full = new FullPipe(gateway.directory.at('access.log'));
    await gateway.start({ TIDEGATE_ACCESS_LOG: full.path, TIDEGATE_DRAIN: '1s' });
    // Whoever opens it to write waits for a reader: so the next state.json is never written. That of the start may be.
    const next = gateway.directory.at('state.json.tmp');
    await until(() => spawnSync('mkfifo', [next], { stdio: 'ignore' }).status === 0);
    await gateway.exchange(CALL);
    await gateway.settledUse();
    const asked = performance.now();
    expect(await gateway.tidegate.stop()).toEqual({ code: null, signal: 'SIGKILL' });
    expect(performance.now() - asked).toBeLessThan(10_000);
    expect(gateway.tidegate.log().slice(-2)).toMatchObject([
      { message: 'stopping' },
      {
        level: 'error',
        message: 'the stop is not clean: its time was over',
        late: 'state, access log',
      },
    ]);
    full.close();
    rmSync(gateway.directory.at('state.json.tmp'));
    await expectCharge(100);
  }, 20_000);

  it('does not wait for an upload that never ends', async () => {
    await gateway.open({ TIDEGATE_DRAIN: '200ms' });
    const client = await gateway.connect();
    await client.write(`${head(4)}12`);
    await gateway.exchange(GET);
    expect(await gateway.tidegate.stop()).toEqual(CLEAN);
    client.destroy();
  });
});

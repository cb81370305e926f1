import { randomBytes } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { jsonMessage, STREAM_HEADERS, streamEvents } from '../support/fake-upstream.js';
import { useGateway } from '../support/gateway.js';
import { until } from '../support/until.js';
import { type Wire } from '../support/wire.js';

const MIB = 1024 * 1024;
const PATHS = ['/v1/messages', '/v1/other'];
const post = (path: string, length: number) =>
  `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: ${length}\r\n\r\n`;
const CALL = `${post('/v1/messages', 2)}{}`;

/** Each way in which a client leaves. */
const LEAVINGS: readonly [string, (wire: Wire) => void][] = [
  ['closes', (wire) => wire.destroy()],
  ['resets', (wire) => wire.reset()],
  ['half-closes', (wire) => wire.end()],
];

describe('a client that leaves', () => {
  const gateway = useGateway();

  describe.each(LEAVINGS)('(%s)', (_how, leave) => {
    it.each(PATHS)('before the answer ends the request upstream: %s', async (path) => {
      const before = await gateway.settledUse();
      gateway.upstream.answer = () => {};
      const wire = await gateway.connect();
      await wire.write(`${post(path, 2)}{}`);
      await until(() => gateway.upstream.seen.length === 1);
      const estimate = (await gateway.limit()).reserved;
      expect(estimate > 0).toBe(path === '/v1/messages');
      leave(wire);
      await until(() => gateway.upstream.aborted === 1, 1_000);
      await gateway.charges(before, estimate);
    });

    it('in mid-stream ends the stream upstream, and pays for what was relayed', async () => {
      const before = await gateway.settledUse();
      gateway.upstream.answer = (_request, response) => {
        const [start, block, ...deltas] = streamEvents({ input: 1_000 }, 3);
        response.writeHead(200, STREAM_HEADERS).write(`${start}${block}`);
        for (const delta of deltas.slice(0, 3)) response.write(delta);
      };
      const wire = await gateway.connect();
      await wire.write(CALL);
      await wire.says('word2');
      leave(wire);
      await until(() => gateway.upstream.aborted === 1, 1_000);
      // 18 characters were relayed, at four to a token.
      await gateway.charges(before, 1_000 + 5);
    });

    it('while its metered body uploads costs nothing, and nothing is sent', async () => {
      const before = await gateway.settledUse();
      const wire = await gateway.connect();
      await wire.write(post('/v1/messages', MIB));
      await wire.write(randomBytes(1_000));
      leave(wire);
      await wire.isOver();
      await gateway.charges(before, 0);
      expect(gateway.upstream.seen).toHaveLength(0);
      expect(gateway.upstream.aborted).toBe(0);
    });

    it.each([
      ['length', post('/v1/files', MIB), 'part of it'],
      [
        'chunked',
        post('/v1/files', 0).replace(/Content-Length: 0/, 'Transfer-Encoding: chunked'),
        '4\r\npart\r\n',
      ],
    ])('while its streamed body uploads ends the upload: %s', async (_framing, head, part) => {
      const wire = await gateway.connect();
      const uploads: Wire[] = [];
      gateway.upstream.speakRaw((upload) => void uploads.push(upload));
      await wire.write(head + part);
      await until(() => uploads.length === 1);
      await uploads[0]!.says('part');
      leave(wire);
      await uploads[0]!.isOver(1_000);
      expect(uploads[0]!.text, 'not a whole body').not.toContain('\r\n0\r\n');
    });
  });

  it('while it waits for admission costs nothing, and is not sent', async () => {
    const before = await gateway.settledUse();
    const refusals: ServerResponse[] = [];
    gateway.upstream.answer = (_request, response) => void refusals.push(response);
    const [first, second] = [await gateway.connect(), await gateway.connect()];
    await first.write(CALL);
    await until(() => refusals.length === 1);
    // Nobody is admitted until the body tells that this 429 concerns one request only. The head of the
    // 429, the call and its end await Tidegate in this order, and the body is not among them.
    await gateway.tidegate.frozen(async () => {
      refusals[0]!.writeHead(429, { 'content-type': 'application/json' }).flushHeaders();
      await new Promise(setImmediate);
      await second.write(CALL);
      second.destroy();
    });
    // What is asked now is answered only after it has met all three.
    await gateway.tidegate.status();
    const message = 'Extra usage is required for long context requests.';
    refusals[0]!.end(JSON.stringify({ error: { type: 'rate_limit_error', message } }));
    expect((await first.answer()).status).toBe(429);
    first.destroy();
    expect(gateway.upstream.seen).toHaveLength(1);
    // A body has 250 ms to tell. On a machine that was busy for so long there is a cooldown now.
    await gateway.clearCooldown();
    gateway.upstream.answer = jsonMessage();
    expect((await gateway.exchange(CALL)).status).toBe(200);
    expect(gateway.upstream.seen).toHaveLength(2);
    await gateway.charges(before, 15);
  });

  it('while its 429 is judged leaves the cooldown behind', async () => {
    gateway.upstream.answer = (_request, response) => {
      response.writeHead(429, { 'retry-after': '20' }).write('part of the body');
    };
    const wire = await gateway.connect();
    await wire.write(CALL);
    await until(() => gateway.upstream.seen.length === 1);
    wire.destroy();
    await until(() => gateway.upstream.aborted === 1, 1_000);
    expect((await gateway.exchange(CALL)).headers.get('tidegate-decision')).toBe('cooldown');
    expect((await gateway.tidegate.scope()).upstream.refused429).toBe(1);
    await gateway.clearCooldown();
  });

  it('with several requests on their way ends all of them', async () => {
    gateway.upstream.answer = () => {};
    const wire = await gateway.connect();
    await wire.write(CALL + CALL + post('/v1/other', 0));
    await until(() => gateway.upstream.seen.length === 3);
    wire.destroy();
    await until(() => gateway.upstream.aborted === 3, 1_000);
  });

  it('in every possible moment leaves nothing behind', async () => {
    gateway.upstream.answer = async (_request, response) => {
      response.writeHead(200, STREAM_HEADERS);
      for (const event of streamEvents({}, 20)) {
        response.write(event);
        await new Promise(setImmediate);
      }
      response.end();
    };
    const visits = Array.from({ length: 200 }, async (_, index) => {
      const wire = await gateway.connect();
      await wire.write(CALL.slice(0, 20 + index));
      for (let turn = 0; turn < index % 40; turn += 1) await new Promise(setImmediate);
      if (index % 3 === 0) wire.reset();
      else wire.destroy();
    });
    await Promise.all(visits);
    expect((await gateway.exchange(CALL)).status).toBe(200);
    await gateway.settledUse();
  });
});

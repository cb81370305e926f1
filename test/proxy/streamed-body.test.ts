import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, it } from 'vitest';
import { IDLE_MS } from '../../src/proxy/held-bodies.js';
import { streamedBody } from '../../src/proxy/streamed-body.js';
import { ManualTime } from '../support/manual-time.js';
import { until } from '../support/until.js';
import { Wire } from '../support/wire.js';

it('a client that is kept waiting is not silent, and leaves no timer behind', async () => {
  const time = new ManualTime();
  const requests: IncomingMessage[] = [];
  const server = createServer((request) => requests.push(request));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const wire = await Wire.open(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  try {
    await wire.write('PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n');
    await until(() => requests.length === 1);
    const [request] = requests as [IncomingMessage];
    const body = streamedBody(request, time);
    void wire.write(Buffer.alloc(1_000_000));
    await until(() => body.writableNeedDrain);
    time.advance(5 * IDLE_MS);
    expect([request.destroyed, time.pending]).toEqual([false, 1]);
    body.resume();
    await until(() => request.readableEnded);
    expect([request.complete, time.pending]).toEqual([true, 0]);
  } finally {
    wire.destroy();
    server.close();
  }
});

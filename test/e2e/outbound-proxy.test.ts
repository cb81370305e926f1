import { writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Authority } from '../support/certificates.js';
import { STREAM_HEADERS, streamEvents } from '../support/fake-upstream.js';
import { Gateway, type Environment } from '../support/gateway.js';
import { expectLocalAnswer } from '../support/local-answer.js';
import { TemporaryDirectory } from '../support/temporary-directory.js';
import { until } from '../support/until.js';

const CALL = 'POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}';

let proxy: Server;
/** Where tunnels were asked for. */
const tunnels: string[] = [];
let refuses = false;

beforeAll(async () => {
  proxy = createServer();
  proxy.on('connect', ({ url = '' }, socket: Socket) => {
    tunnels.push(url);
    if (refuses) return void socket.end('HTTP/1.1 403 Forbidden\r\n\r\n');
    const [host, port] = url.split(':');
    const upstream = connect(Number(port), host, () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      socket.pipe(upstream).pipe(socket);
    });
    upstream.on('error', () => socket.resetAndDestroy()).on('close', () => socket.destroy());
    socket.on('error', () => upstream.destroy()).on('close', () => upstream.destroy());
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
});
afterAll(() => void proxy.close());

let gateway: Gateway;
async function open(env: Environment = {}): Promise<void> {
  gateway = new Gateway();
  const { port } = proxy.address() as AddressInfo;
  await gateway.open({ HTTP_PROXY: `http://127.0.0.1:${port}`, ...env });
  tunnels.length = 0;
  refuses = false;
}
afterEach(() => gateway.close());

describe('with HTTP_PROXY', () => {
  it('requests go through the proxy, and lose nothing there', async () => {
    await open();
    const lines = ['anthropic-beta: a', 'X-A: 1', 'anthropic-beta: b', 'x-a: 2', '__proto__: x'];
    const request = CALL.replace('Host: x', ['Host: x', ...lines].join('\r\n'));
    expect((await gateway.exchange(request)).status).toBe(200);
    expect(tunnels).toEqual([new URL(gateway.upstream.url).host]);
    const { rawHeaders, headers, body } = gateway.upstream.seen[0]!;
    const sent: string[] = [];
    for (let index = 0; index < rawHeaders.length; index += 2) {
      sent.push(`${rawHeaders[index]}: ${rawHeaders[index + 1]}`);
    }
    expect(sent).toEqual(expect.arrayContaining(lines));
    const betas = sent.filter((line) => line.startsWith('anthropic-beta'));
    expect(betas).toEqual(['anthropic-beta: a', 'anthropic-beta: b']);
    expect(headers.host).toBe(new URL(gateway.upstream.url).host);
    expect(sent.filter((line) => /^proxy-/i.test(line))).toEqual([]);
    expect(body.toString()).toBe('{}');
    await gateway.charges(0, 15);
  });

  it('streams run side by side, each at its pace, and end with their clients', async () => {
    await open();
    const [start, ...rest] = streamEvents({});
    const streams: (() => void)[] = [];
    gateway.upstream.answer = (_request, response) => {
      response.writeHead(200, STREAM_HEADERS).write(start);
      streams.push(() => response.end(rest.join('')));
    };
    const wires = await Promise.all(Array.from({ length: 10 }, () => gateway.connect()));
    for (const wire of wires) void wire.write(CALL);
    await Promise.all(wires.map((wire) => wire.says(start!)));
    wires[0]!.destroy();
    await until(() => gateway.upstream.aborted === 1, 1_000);
    for (const finish of streams) finish();
    for (const wire of wires.slice(1)) {
      expect((await wire.answer()).body.toString()).toBe(start + rest.join(''));
      wire.destroy();
    }
  });

  it('an answer that ends with its connection is cut off where that is reset', async () => {
    await open();
    gateway.upstream.sayRaw('HTTP/1.1 200 OK\r\n\r\nhalf of it', async (upstream) => {
      await client.says('half of it');
      upstream.reset();
    });
    const client = await gateway.connect();
    await client.write(CALL);
    await until(() => client.closed);
    expect(client.error).toBe('ECONNRESET');
  });

  it('silence is still a 504, and a body may still take its time', async () => {
    await open({ TIDEGATE_UPSTREAM_TIMEOUT: '300ms' });
    gateway.upstream.answer = () => {};
    expectLocalAnswer(await gateway.exchange(CALL), 504, 'timeout_error');
    gateway.upstream.answer = (_request, response) => {
      response.write('slow ');
      setTimeout(() => response.end('body'), 700);
    };
    expect((await gateway.exchange(CALL)).body.toString()).toBe('slow body');
  });

  it('a proxy that refuses is a 502', async () => {
    await open();
    refuses = true;
    const answer = await gateway.exchange(CALL);
    expectLocalAnswer(answer, 502, 'api_error');
    const { port } = proxy.address() as AddressInfo;
    expect(answer.body.toString()).toContain(
      `through the proxy 127.0.0.1:${port} (the proxy answers 403)`,
    );
    expect(gateway.tidegate.log()).toContainEqual(
      expect.objectContaining({ code: 'PROXY_403', proxy: `127.0.0.1:${port}` }),
    );
    refuses = false;
    expect((await gateway.exchange(CALL)).status).toBe(200);
  });

  it('what the proxy answers is not taken for the upstream’s answer', async () => {
    const authority = new Authority('test');
    const { certificate, key } = authority.issue('127.0.0.1');
    const secure = createSecureServer({ cert: certificate, key }, (_, response) =>
      response.writeHead(404).end(),
    );
    await new Promise<void>((resolve) => secure.listen(0, '127.0.0.1', resolve));
    const { port } = secure.address() as AddressInfo;
    const trusted = new TemporaryDirectory();
    writeFileSync(trusted.at('ca.pem'), authority.certificate);
    await open({
      TIDEGATE_UPSTREAM: `https://127.0.0.1:${port}`,
      NODE_EXTRA_CA_CERTS: trusted.at('ca.pem'),
    });
    const reach = async () => {
      const response = await fetch(`${gateway.tidegate.controlUrl}/health/upstream`);
      return { status: response.status, text: await response.text() };
    };
    expect(await reach()).toMatchObject({ status: 200 });
    expect(tunnels).toEqual([`127.0.0.1:${port}`]);
    refuses = true;
    expect(await reach()).toMatchObject({
      status: 503,
      text: expect.stringMatching(/the proxy 127\.0\.0\.1:\d+ answers 403/),
    });
    secure.close();
    trusted.dispose();
  });

  it('NO_PROXY names those that are reached without it', async () => {
    await open({ NO_PROXY: '127.0.0.1' });
    expect((await gateway.exchange(CALL)).status).toBe(200);
    expect(tunnels).toEqual([]);
  });
});

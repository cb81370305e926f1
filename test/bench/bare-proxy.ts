/**
 * What a proxy costs that governs nothing: `node:http` in, undici's dispatch out, the bytes between them.
 * The yardstick of the benchmarks. `bare-proxy.ts UPSTREAM_URL`; says the port it listens on.
 */
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Agent, type Dispatcher } from 'undici';

const origin = process.argv[2] ?? '';
const agent = new Agent({ pipelining: 1, bodyTimeout: 0, headersTimeout: 0 });

class Copy implements Dispatcher.DispatchHandler {
  constructor(private readonly response: ServerResponse) {}

  onRequestStart(): void {}

  onResponseStart(controller: Dispatcher.DispatchController, status: number): void {
    const raw = (controller.rawHeaders ?? []) as Buffer[];
    const headers: string[] = [];
    for (let index = 0; index < raw.length; index += 2) {
      const name = String(raw[index]);
      if (name.toLowerCase() !== 'transfer-encoding') headers.push(name, String(raw[index + 1]));
    }
    this.response.writeHead(status, headers);
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.response.write(chunk)) return;
    controller.pause();
    this.response.once('drain', () => controller.resume());
  }

  onResponseEnd(): void {
    this.response.end();
  }

  onResponseError(): void {
    this.response.destroy();
  }
}

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const headers: string[] = [];
    const { rawHeaders } = request;
    for (let index = 0; index < rawHeaders.length; index += 2) {
      const name = rawHeaders[index] as string;
      if (/^(host|content-length|connection)$/i.test(name)) continue;
      headers.push(name, rawHeaders[index + 1] as string);
    }
    agent.dispatch(
      {
        origin,
        path: request.url ?? '/',
        method: request.method as Dispatcher.HttpMethod,
        headers,
        body: Buffer.concat(chunks),
      },
      new Copy(response),
    );
  });
});
server.listen({ port: 0, host: '127.0.0.1', backlog: 4_096 }, () => {
  process.stdout.write(`${(server.address() as AddressInfo).port}\n`);
});

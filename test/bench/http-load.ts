/**
 * The load of the benchmarks: HTTP/1.1 on plain sockets, because a client library costs more than the
 * proxies it is to measure. `http-load.ts JSON`, where JSON is a Load; says one line of JSON, a LoadResult.
 */
import { connect, type Socket } from 'node:net';
import { performance } from 'node:perf_hooks';

export interface Load {
  readonly port: number;
  readonly path: string;
  readonly bodyBytes: number;
  readonly connections: number;
  /** How long to measure, in ms. */
  readonly durationMs: number;
  /** Requests a second over all connections; 0: each connection sends as soon as it has its answer. */
  readonly rate: number;
  /** Let the first of it pass unmeasured, in ms. */
  readonly warmUpMs: number;
}

export interface LoadResult {
  readonly requests: number;
  readonly failures: number;
  readonly durationMs: number;
  /** Bytes of answers, headers included. */
  readonly bytes: number;
  /** Latency from the first byte sent to the last byte received, in ms. */
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
}

const END_OF_HEADERS = Buffer.from('\r\n\r\n');
const LAST_CHUNK = Buffer.from('0\r\n\r\n');
const CONTENT_LENGTH = /\r\ncontent-length: *(\d+)/i;

/** One connection that asks again and again. */
class Client {
  #socket: Socket;
  #sentAt = 0;
  /** Bytes of the answer still to come; -1 in its headers, Infinity in chunks. */
  #left = -1;
  #start: Buffer = Buffer.alloc(0);
  idle = true;

  constructor(
    port: number,
    private readonly request: Buffer,
    private readonly onAnswer: (client: Client, latencyMs: number, ok: boolean) => void,
    private readonly onBytes: (count: number) => void,
  ) {
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true });
    this.#socket.on('data', (chunk) => this.#take(chunk));
    this.#socket.on('error', () => this.#done(false));
  }

  send(): void {
    this.idle = false;
    this.#left = -1;
    this.#sentAt = performance.now();
    this.#socket.write(this.request);
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    this.onBytes(chunk.length);
    let body = chunk;
    if (this.#left === -1) {
      const start = this.#start.length === 0 ? chunk : Buffer.concat([this.#start, chunk]);
      const end = start.indexOf(END_OF_HEADERS);
      if (end === -1) {
        this.#start = start;
        return;
      }
      this.#start = Buffer.alloc(0);
      const head = start.toString('latin1', 0, end);
      if (!head.startsWith('HTTP/1.1 200')) return this.#done(false);
      this.#left = Number(CONTENT_LENGTH.exec(head)?.[1] ?? Number.POSITIVE_INFINITY);
      body = start.subarray(end + END_OF_HEADERS.length);
    }
    if (this.#left === Number.POSITIVE_INFINITY) {
      if (body.subarray(-LAST_CHUNK.length).equals(LAST_CHUNK)) this.#done(true);
      return;
    }
    this.#left -= body.length;
    if (this.#left === 0) this.#done(true);
  }

  #done(ok: boolean): void {
    if (this.idle) return;
    this.idle = true;
    this.onAnswer(this, performance.now() - this.#sentAt, ok);
  }
}

async function run(load: Load): Promise<LoadResult> {
  const latencies: number[] = [];
  let failures = 0;
  let bytes = 0;
  let measuring = false;
  let over = false;
  const body = `{"model":"claude-bench","max_tokens":100,"messages":[{"role":"user","content":"`;
  const filler = 'x'.repeat(Math.max(0, load.bodyBytes - body.length - 4));
  const content = `${body}${filler}"}]}`;
  const request = Buffer.from(
    `POST ${load.path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n` +
      `X-Api-Key: sk-ant-bench\r\nAnthropic-Version: 2023-06-01\r\nUser-Agent: bench\r\n` +
      `Accept: application/json\r\nContent-Length: ${content.length}\r\n\r\n${content}`,
  );
  const onAnswer = (client: Client, latencyMs: number, ok: boolean) => {
    if (measuring) {
      if (ok) latencies.push(latencyMs);
      else failures += 1;
    }
    if (!over && load.rate === 0 && ok) client.send();
  };
  const onBytes = (count: number) => {
    if (measuring) bytes += count;
  };
  const clients = Array.from(
    { length: load.connections },
    () => new Client(load.port, request, onAnswer, onBytes),
  );
  if (load.rate === 0) for (const client of clients) client.send();
  const pace =
    load.rate === 0
      ? null
      : setInterval(() => clients.find(({ idle }) => idle)?.send(), 1000 / load.rate);
  await sleep(load.warmUpMs);
  measuring = true;
  const start = performance.now();
  await sleep(load.durationMs);
  measuring = false;
  over = true;
  const durationMs = performance.now() - start;
  if (pace !== null) clearInterval(pace);
  for (const client of clients) client.close();
  latencies.sort((a, b) => a - b);
  const at = (share: number) => latencies[Math.floor(latencies.length * share)] ?? Number.NaN;
  return {
    requests: latencies.length,
    failures,
    durationMs,
    bytes,
    p50: at(0.5),
    p90: at(0.9),
    p99: at(0.99),
  };
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

process.stdout.write(`${JSON.stringify(await run(JSON.parse(process.argv[2] ?? '')))}\n`);
process.exit();

import { connect, type Socket } from 'node:net';
import { until } from './until.js';

/** An HTTP answer as it came over the wire. */
export interface WireAnswer {
  readonly version: string;
  readonly status: number;
  readonly reason: string;
  /** Names and values in turn, as they were written. */
  readonly rawHeaders: readonly string[];
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
  /** How the end of the body was told. */
  readonly framing: 'none' | 'length' | 'chunked' | 'close';
}

/** One end of a TCP connection: says exactly these bytes, and keeps what the other end says. */
export class Wire {
  received = Buffer.alloc(0);
  /** The other end has said that it will say no more. */
  ended = false;
  closed = false;
  /** ECONNRESET and the like. */
  error: string | null = null;
  /** Bytes seen in all, `received` or let go by `forget`. */
  seenBytes = 0;
  #keeps = true;
  #consumed = 0;

  constructor(readonly socket: Socket) {
    socket.on('data', (chunk: Buffer) => {
      this.seenBytes += chunk.length;
      if (this.#keeps) this.received = Buffer.concat([this.received, chunk]);
    });
    socket.on('end', () => (this.ended = true));
    socket.on('close', () => (this.closed = true));
    socket.on('error', (error: NodeJS.ErrnoException) => (this.error = error.code ?? error.name));
  }

  static async open(url: string): Promise<Wire> {
    const { hostname, port } = new URL(url);
    const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve).once('error', reject);
    });
    return new Wire(socket);
  }

  get text(): string {
    return this.received.toString('latin1');
  }

  /** Text is latin1, so that every byte can be said. Resolves when the kernel has taken it. */
  write(bytes: string | Buffer): Promise<void> {
    const data = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes;
    return new Promise((resolve) => void this.socket.write(data, () => resolve()));
  }

  end(bytes = ''): void {
    this.socket.end(bytes, 'latin1');
  }

  /** From now on only counts what comes. */
  forget(): void {
    this.#keeps = false;
  }

  reset(): void {
    this.socket.resetAndDestroy();
  }

  destroy(): void {
    this.socket.destroy();
  }

  /** Waits until the other end has said this. */
  async says(text: string | RegExp): Promise<void> {
    const said = () => (typeof text === 'string' ? this.text.includes(text) : text.test(this.text));
    await until(said, 5_000, () => `wanted ${String(text)}, got ${JSON.stringify(this.text)}`);
  }

  /** Waits until the other end has ended the connection, or broken it. */
  async isOver(deadlineMs = 5_000): Promise<void> {
    await until(
      () => this.ended || this.closed,
      deadlineMs,
      () => `got ${this.text}`,
    );
  }

  /** The next whole answer; `bodiless`: it answers a HEAD. */
  async answer({ bodiless = false } = {}): Promise<WireAnswer> {
    let parsed: [WireAnswer, number] | null = null;
    await until(
      () => {
        parsed = parseAnswer(this.received.subarray(this.#consumed), bodiless, this.#over);
        return parsed !== null || this.#over;
      },
      10_000,
      () => `got ${JSON.stringify(this.text.slice(0, 2_000))}`,
    );
    if (parsed === null) throw new Error(`no whole answer: ${JSON.stringify(this.text)}`);
    const [answer, bytes] = parsed as [WireAnswer, number];
    this.#consumed += bytes;
    return answer;
  }

  /** Bytes that came after the answers read so far. */
  get rest(): string {
    return this.received.subarray(this.#consumed).toString('latin1');
  }

  get #over(): boolean {
    return this.ended || this.closed;
  }
}

/** An answer and its length in bytes; null if it is not whole. */
function parseAnswer(bytes: Buffer, bodiless: boolean, over: boolean): [WireAnswer, number] | null {
  const headEnd = bytes.indexOf('\r\n\r\n');
  if (headEnd === -1) return null;
  const [line = '', ...lines] = bytes.subarray(0, headEnd).toString('latin1').split('\r\n');
  const [, version = '', status = '', reason = ''] = /^(\S+) (\d{3}) ?(.*)$/.exec(line) ?? [];
  const rawHeaders = lines.flatMap((text) => {
    const colon = text.indexOf(':');
    return [text.slice(0, colon), text.slice(colon + 1).trim()];
  });
  const headers = new Map<string, string>();
  for (let index = 0; index < rawHeaders.length; index += 2) {
    headers.set((rawHeaders[index] as string).toLowerCase(), rawHeaders[index + 1] as string);
  }
  const head = { version, status: Number(status), reason, rawHeaders, headers };
  const start = headEnd + 4;
  if (bodiless || head.status < 200 || head.status === 204 || head.status === 304) {
    return [{ ...head, framing: 'none', body: Buffer.alloc(0) }, start];
  }
  if (headers.get('transfer-encoding') === 'chunked') {
    const read = readChunks(bytes.subarray(start));
    return read && [{ ...head, framing: 'chunked', body: read[0] }, start + read[1]];
  }
  const length = headers.get('content-length');
  if (length === undefined) {
    return over ? [{ ...head, framing: 'close', body: bytes.subarray(start) }, bytes.length] : null;
  }
  const end = start + Number(length);
  if (bytes.length < end) return null;
  return [{ ...head, framing: 'length', body: bytes.subarray(start, end) }, end];
}

function readChunks(bytes: Buffer): [Buffer, number] | null {
  const parts: Buffer[] = [];
  for (let at = 0; ;) {
    const lineEnd = bytes.indexOf('\r\n', at);
    if (lineEnd === -1) return null;
    const size = Number.parseInt(bytes.subarray(at, lineEnd).toString('latin1'), 16);
    const next = lineEnd + 2 + size + 2;
    if (bytes.length < next) return null;
    if (size === 0) return [Buffer.concat(parts), next];
    parts.push(bytes.subarray(lineEnd + 2, next - 2));
    at = next;
  }
}

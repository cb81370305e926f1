import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { Wire } from './wire.js';

export interface SeenRequest {
  readonly method: string;
  readonly url: string;
  readonly rawHeaders: readonly string[];
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
  /** By performance.now(), when the request had arrived whole. */
  readonly at: number;
}

export type Answer = (request: SeenRequest, response: ServerResponse) => void | Promise<void>;

/** An upstream on loopback that counts what it sees and answers as told. */
export class FakeUpstream {
  /** In order of arrival. */
  readonly seen: SeenRequest[] = [];
  /** Requests whose client went away before the answer was complete. */
  aborted = 0;
  answer: Answer;
  readonly #server: Server;
  #raw: ((wire: Wire) => void) | null = null;
  readonly #wires = new Set<Wire>();

  private constructor(answer: Answer) {
    this.answer = answer;
    this.#server = createServer(
      { maxHeaderSize: 131_072 },
      (request, response) => void this.#take(request, response),
    );
    this.#server.keepAliveTimeout = 60_000;
    this.#server.maxHeadersCount = 0;
    const [speakHttp] = this.#server.listeners('connection') as [(socket: Socket) => void];
    this.#server.off('connection', speakHttp).on('connection', (socket: Socket) => {
      if (this.#raw === null) return speakHttp.call(this.#server, socket);
      const wire = new Wire(socket);
      this.#wires.add(wire);
      this.#raw(wire);
    });
  }

  static async open(answer: Answer = jsonMessage()): Promise<FakeUpstream> {
    const upstream = new FakeUpstream(answer);
    await new Promise<void>((resolve) => upstream.#server.listen(0, '127.0.0.1', () => resolve()));
    return upstream;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** New connections get this instead of an HTTP server, until it is null; idle ones are closed. */
  speakRaw(take: ((wire: Wire) => void) | null): void {
    if (take === null && this.#raw === null) return;
    this.#raw = take;
    this.#server.closeIdleConnections();
    for (const wire of this.#wires) wire.destroy();
    this.#wires.clear();
  }

  /** Answers each connection's first request with exactly these bytes. */
  sayRaw(bytes: string | Buffer, then: (wire: Wire) => void = () => {}): void {
    this.speakRaw((wire) => {
      wire.socket.once('data', () => void wire.write(bytes).then(() => then(wire)));
    });
  }

  async close(): Promise<void> {
    this.speakRaw(null);
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    } catch {
      this.aborted += 1;
      return;
    }
    response.on('close', () => {
      if (!response.writableFinished) this.aborted += 1;
    });
    const seen: SeenRequest = {
      method: request.method ?? '',
      url: request.url ?? '',
      rawHeaders: request.rawHeaders,
      headers: request.headers,
      body: Buffer.concat(chunks),
      at: performance.now(),
    };
    this.seen.push(seen);
    await this.answer(seen, response);
  }
}

export interface MessageCost {
  readonly input?: number;
  readonly output?: number;
}

/** A Messages answer in JSON. */
export function jsonMessage({ input = 10, output = 5 }: MessageCost = {}): Answer {
  return (_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(messageText({ input, output }));
  };
}

export function messageText({ input = 10, output = 5 }: MessageCost): string {
  return JSON.stringify({
    id: 'msg_1',
    type: 'message',
    role: 'assistant',
    model: 'claude-test',
    content: [{ type: 'text', text: 'Hello.' }],
    stop_reason: 'end_turn',
    stop_sequence: null,
    usage: {
      input_tokens: input,
      cache_creation_input_tokens: 0,
      cache_read_input_tokens: 0,
      output_tokens: output,
    },
  });
}

/** The events of a Messages stream, each as it goes over the wire. */
export function streamEvents({ input = 10, output = 5 }: MessageCost, words = 3): string[] {
  const event = (type: string, data: object) =>
    `event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`;
  const usage = {
    input_tokens: input,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: 0,
    output_tokens: 1,
  };
  const message = {
    id: 'msg_1',
    type: 'message',
    role: 'assistant',
    model: 'claude-test',
    content: [],
    stop_reason: null,
    stop_sequence: null,
    usage,
  };
  return [
    event('message_start', { message }),
    event('content_block_start', { index: 0, content_block: { type: 'text', text: '' } }),
    ...Array.from({ length: words }, (_, word) =>
      event('content_block_delta', {
        index: 0,
        delta: { type: 'text_delta', text: `word${word} ` },
      }),
    ),
    event('content_block_stop', { index: 0 }),
    event('message_delta', {
      delta: { stop_reason: 'end_turn', stop_sequence: null },
      usage: { output_tokens: output },
    }),
    event('message_stop', {}),
  ];
}

export const STREAM_HEADERS = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-cache',
};

/** A whole Messages stream, as fast as it goes. */
export function streamMessage(cost: MessageCost = {}, words = 3): Answer {
  return (_request, response) => {
    response.writeHead(200, STREAM_HEADERS);
    for (const event of streamEvents(cost, words)) response.write(event);
    response.end();
  };
}

/** 429 with these headers; `message` makes it more than bare. */
export function refusal(
  headers: Readonly<Record<string, string>> = {},
  message = 'This request would exceed the rate limit of your account.',
): Answer {
  return (_request, response) => {
    response.writeHead(429, { 'content-type': 'application/json', ...headers });
    response.end(
      JSON.stringify({
        type: 'error',
        error: { type: 'rate_limit_error', message },
        request_id: 'req_upstream',
      }),
    );
  };
}

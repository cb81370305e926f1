import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Dialect } from '../dialects/dialect.js';
import type { Log } from '../platform/log.js';
import { outliveErrors } from '../platform/server-errors.js';
import type { Timers } from '../platform/timers.js';
import { Exchange, LINGER_MS, type Connection } from './exchange.js';
import { UnreadWatch } from './unread-watch.js';

export interface ListenerOptions {
  readonly dialect: Dialect;
  readonly timers: Timers;
  readonly log: Log;
  readonly nextRequestId: () => string;
  readonly onExchange: (exchange: Exchange) => void;
  /** The client of this answer is cut off, for it has stopped reading. */
  readonly onUnread: (requestId: string) => void;
  /** Longest time that the headers of a request may take, in ms. */
  readonly headersMs?: number;
}

/** A client's pool keeps idle connections for less than this, so that it is never ours that close first. */
const KEEP_ALIVE_MS = 75_000;
/** Headers that take longer than this are an attack, or a dead client. */
const HEADERS_MS = 30_000;
const MAX_HEADER_BYTES = 65_536;
/** Requests of one connection that are under way: Node takes whatever comes, before one is answered. */
export const MOST_IN_A_ROW = 100;

/**
 * A server that makes an exchange of every request that Node's parser takes. What it does not take
 * is answered here, in the dialect's shape, and ends the connection: after bytes that are no request
 * nobody can tell where the next one begins.
 */
export class Listener {
  readonly server: Server;
  readonly #options: ListenerOptions;
  readonly #connections = new WeakMap<Socket, Connection>();
  /** Refused connections that are not over yet: Node's server lets go of what its parser does not take. */
  readonly #lingering = new Set<Socket>();

  constructor(options: ListenerOptions) {
    this.#options = options;
    const { headersMs = HEADERS_MS } = options;
    this.server = createServer({
      keepAliveTimeout: KEEP_ALIVE_MS,
      headersTimeout: headersMs,
      connectionsCheckingInterval: Math.ceil(headersMs / 4),
      // The whole of a large upload may take long; whoever reads it gives up one that stalls.
      requestTimeout: 0,
      maxHeaderSize: MAX_HEADER_BYTES,
      // A request without one is refused like all others, by `screen`.
      requireHostHeader: false,
    });
    // Node would drop the headers beyond a thousand without a word.
    this.server.maxHeadersCount = 0;
    const take = (request: IncomingMessage, response: ServerResponse) =>
      this.#take(request, response);
    this.server
      .on('connection', (socket) => this.#connect(socket))
      .on('request', take)
      .on('checkContinue', take)
      .on('checkExpectation', take)
      .on('connect', (_request, socket: Socket) => this.#refuseTunnel(socket))
      .on('clientError', (error, socket: Socket) => this.#takeFault(error, socket));
  }

  /** Rejects if it can't be opened. What fails later, the accepting of a connection, is told. */
  open({ host, port }: { readonly host: string; readonly port: number }): Promise<AddressInfo> {
    const { server } = this;
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host, port }, () => {
        outliveErrors(server, 'proxy', this.#options.log);
        server.off('error', reject);
        resolve(server.address() as AddressInfo);
      });
    });
  }

  /** Cuts off the connections that are open, also those that only linger after a refusal. */
  cut(): void {
    this.server.closeAllConnections();
    for (const socket of this.#lingering) socket.destroy();
  }

  /** Takes no connection more, and cuts. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    this.cut();
    await closed;
  }

  #connect(socket: Socket): void {
    const { timers, onUnread } = this.#options;
    const open: Exchange[] = [];
    const watch = new UnreadWatch(
      socket,
      timers,
      () => open.length > 0,
      () => {
        if (open[0] !== undefined) onUnread(open[0].requestId);
        // A clean end could be taken for that of the answer, and the kernel would keep what it has.
        socket.resetAndDestroy();
      },
    );
    const connection: Connection = { open, ends: false, ignored: 0, watch };
    this.#connections.set(socket, connection);
    socket.once('close', () => {
      watch.end();
      for (const exchange of connection.open.splice(0)) exchange.leave();
    });
  }

  #take(request: IncomingMessage, response: ServerResponse): void {
    const { dialect, timers, log, nextRequestId, onExchange } = this.#options;
    const { socket } = request;
    if (socket.destroyed) return;
    const connection = this.#connections.get(socket) as Connection;
    if (connection.open.length + connection.ignored >= MOST_IN_A_ROW) {
      log.info('turned away', { code: 'TOO_MANY_IN_A_ROW' });
      return void socket.destroy();
    }
    if (connection.ends) {
      connection.ignored += 1;
      // Read on, so that the client gets to see the answer that ends the connection.
      return void request.resume();
    }
    const id = nextRequestId();
    onExchange(new Exchange(request, response, id, connection, dialect, timers));
  }

  #refuseTunnel(socket: Socket): void {
    const exchange = this.#connections.get(socket)?.open.at(-1);
    // Node has let go of the connection, and with it of an answer that is still due.
    if (exchange !== undefined && !exchange.over) socket.destroy();
    else this.#refuse(socket, 400, 'CONNECT');
  }

  /** Node's parser does not take what has come. */
  #takeFault(error: Error & { code?: string }, socket: Socket): void {
    // The client has left in the middle of a message.
    if (error.code === 'HPE_INVALID_EOF_STATE') return socket.destroySoon();
    const connection = this.#connections.get(socket) as Connection;
    const exchange = connection.open.at(-1);
    const answer = () => this.#refuse(socket, statusOf(error.code), error.code ?? error.name);
    if (exchange === undefined) return answer();
    const { request, response, answered, over } = exchange;
    if (request.complete) {
      if (over) return answer();
      // The requests before the bad one are answered first. What follows it is told by each piece anew.
      if (!connection.ends) response.once('close', answer);
      connection.ends = true;
      return;
    }
    // It is the body of a request that is bad. Our own answer to it is out already, and waits for the
    // client to stop sending; else the end of the connection tells everyone who has part in it.
    if (answered) return;
    if (!response.headersSent && response.socket === socket) answer();
    socket.destroySoon();
  }

  #refuse(socket: Socket, status: RawStatus, code: string): void {
    if (!socket.writable) return;
    const { dialect, timers, log, nextRequestId } = this.#options;
    const requestId = nextRequestId();
    log.info('turned away', { requestId, status, code });
    socket.end(rawAnswer(dialect, status, requestId));
    // What comes after it is dropped for a while, see LINGER_MS.
    socket.on('error', () => {}).resume();
    this.#lingering.add(socket);
    const cancel = timers.after(LINGER_MS, () => socket.destroy());
    socket.once('close', () => {
      cancel();
      this.#lingering.delete(socket);
    });
  }
}

type RawStatus = 400 | 408 | 431;

function statusOf(code: string | undefined): RawStatus {
  if (code === 'HPE_HEADER_OVERFLOW') return 431;
  return code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 408 : 400;
}

const REASONS: Readonly<Record<RawStatus, string>> = {
  400: 'Bad Request',
  408: 'Request Timeout',
  431: 'Request Header Fields Too Large',
};

const MESSAGES: Readonly<Record<RawStatus, string>> = {
  400: 'this is not a request that a reverse proxy may take (RFC 9112)',
  408: 'the headers of the request did not arrive in time',
  431: `the headers of a request may have at most ${MAX_HEADER_BYTES} bytes`,
};

function rawAnswer(dialect: Dialect, status: RawStatus, requestId: string): string {
  const problem = { kind: 'bad-request', message: MESSAGES[status], requestId } as const;
  const { contentType, headers, body } = dialect.localAnswer(problem);
  const lines = [
    `HTTP/1.1 ${status} ${REASONS[status]}`,
    'connection: close',
    `content-type: ${contentType}`,
    `content-length: ${Buffer.byteLength(body)}`,
    'cache-control: no-store',
    `tidegate-request-id: ${requestId}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
  ];
  return `${lines.join('\r\n')}\r\n\r\n${body}`;
}

import { STATUS_CODES, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Dialect, LocalProblem } from '../dialects/dialect.js';
import type { Timers } from '../platform/timers.js';
import type { AccessRecord } from './access-log.js';
import type { UnreadWatch } from './unread-watch.js';

/**
 * How long the rest of an answered request is read and dropped. A connection that closes on unread
 * bytes is reset, and the reset can overtake the answer (RFC 9112 §9.6).
 */
export const LINGER_MS = 2_000;

export interface AnswerOptions {
  /** The connection can't be used again: its next bytes may not be a request. */
  readonly close: boolean;
  readonly headers?: Readonly<Record<string, string>>;
}

/** What the exchanges on one connection share. */
export interface Connection {
  /**
   * Those that are not over, or whose request still comes, in their order: of requests in a row only the
   * first is being answered.
   */
  readonly open: Exchange[];
  /** The client was told so: what it still sends is no request, whatever it looks like. */
  ends: boolean;
  /** What looked like requests since, each of which Node keeps until the connection is closed. */
  ignored: number;
  readonly watch: UnreadWatch;
}

/** One request and the one answer to it: the upstream's, which a Relay carries, or our own. */
export class Exchange {
  /** Its line in the access log; null where none is kept. */
  record: AccessRecord | null = null;
  #answered = false;
  #closed = false;
  #endsWithConnection = false;
  #onceClosed: (() => void)[] = [];

  constructor(
    readonly request: IncomingMessage,
    readonly response: ServerResponse,
    readonly requestId: string,
    private readonly connection: Connection,
    private readonly dialect: Dialect,
    private readonly timers: Timers,
  ) {
    response.once('close', () => this.#close());
    connection.open.push(this);
  }

  /** Its connection is closed. Node tells that only to the answer whose turn it is. */
  leave(): void {
    this.response.destroy();
    this.#close();
  }

  /** Calls when the answer is out, or the client gone; never at once. */
  whenClosed(call: () => void): void {
    if (this.#closed) queueMicrotask(call);
    else this.#onceClosed.push(call);
  }

  /** The client waits no more: it went away, or has its whole answer. */
  get over(): boolean {
    return this.response.destroyed;
  }

  /** The answer is our own. */
  get answered(): boolean {
    return this.#answered;
  }

  /** Asks for the body, where the client waits for that (RFC 9110 §10.1.1). */
  invite(): void {
    const { headers, httpVersion } = this.request;
    if (headers.expect && httpVersion === '1.1') this.response.writeContinue();
  }

  /** Answers in the shape of the upstream's, unless an answer has begun. */
  answer(problem: Pick<LocalProblem, 'kind' | 'message'>, options: AnswerOptions): void {
    const { response, requestId } = this;
    if (this.over || response.headersSent) return;
    this.#answered = true;
    const answer = this.dialect.localAnswer({ ...problem, requestId });
    const close = options.close || this.#unread;
    if (close) this.connection.ends = true;
    response.writeHead(answer.status, STATUS_CODES[answer.status], {
      'content-type': answer.contentType,
      'content-length': Buffer.byteLength(answer.body),
      'cache-control': 'no-store',
      'tidegate-request-id': requestId,
      ...answer.headers,
      ...options.headers,
      ...(close ? { connection: 'close' } : {}),
    });
    if (!this.#unread) return this.#finish(answer.body);
    response.write(answer.body);
    // Node closes the connection when the answer ends: not before the client has stopped sending.
    this.#dropRest(() => this.#finish());
  }

  /** The answer states neither its length nor its end: that of the connection is its end. */
  endsWithConnection(): void {
    const { response, connection } = this;
    this.#endsWithConnection = true;
    connection.ends = true;
    response.useChunkedEncodingByDefault = false;
  }

  /** The upstream's answer is whole, maybe before the request is; `rest` is what is left to write. */
  end(rest: Buffer | undefined): void {
    const { request, response } = this;
    if (!this.#unread) return this.#finish(rest);
    if (this.#endsWithConnection) {
      if (rest !== undefined) response.write(rest);
      return this.#dropRest(() => this.#finish());
    }
    this.#finish(rest);
    this.#dropRest(() => request.destroy());
  }

  /** Part of the answer waits for the client. */
  behind(): void {
    this.connection.watch.begin();
  }

  /**
   * What was relayed is not the whole answer, and a clean end would say that it is. The client still
   * gets what there is of it, if it takes that.
   */
  cut(): void {
    if (this.over) return;
    const { request, response, connection } = this;
    connection.ends = true;
    const { socket } = response;
    // Of requests in a row, it is not its turn yet.
    if (socket === null) {
      return void response.once('socket', () => queueMicrotask(() => this.cut()));
    }
    // Where the end of the connection is the end of the answer, a reset is not.
    const resets = this.#endsWithConnection || request.httpVersion === '1.0';
    const breakOff = () => (resets ? socket.resetAndDestroy() : socket.destroy());
    this.whenClosed(this.timers.after(LINGER_MS, breakOff));
    // Called when the kernel has all that was written before.
    if (resets) return void socket.write('', breakOff);
    socket.end(() => {
      if (!this.#unread) socket.destroy();
    });
    if (this.#unread) this.#dropRest(breakOff);
  }

  #finish(rest?: Buffer | string): void {
    this.response.end(rest);
    if (this.response.writableLength > 0) this.behind();
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const calls = this.#onceClosed;
    this.#onceClosed = [];
    for (const call of calls) call();
    if (this.request.complete) this.#forget();
    else this.request.once('close', () => this.#forget());
  }

  /** A connection lives on, and what it holds would be copied from one collection to the next. */
  #forget(): void {
    const { open } = this.connection;
    const place = open.indexOf(this);
    if (place !== -1) open.splice(place, 1);
  }

  get #unread(): boolean {
    return !this.request.complete && hasBody(this.request);
  }

  #dropRest(then: () => void): void {
    const { request } = this;
    const cancel = this.timers.after(LINGER_MS, then);
    request.once('close', () => {
      cancel();
      then();
    });
    // Who else was to get it is served no more.
    request.unpipe().resume();
  }
}

/** Whether a body follows the headers (RFC 9112 §6.3). */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

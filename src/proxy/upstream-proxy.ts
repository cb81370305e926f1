import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Dispatcher } from 'undici';
import type { Dialect, LocalProblem } from '../dialects/dialect.js';
import { headerFields } from '../dialects/header-fields.js';
import type { Admission } from '../governor/admission.js';
import type { Governor } from '../governor/governor.js';
import type { Log } from '../platform/log.js';
import { randomHex } from '../platform/random.js';
import type { Timers } from '../platform/timers.js';
import { requestHeaders } from './headers.js';
import { HeldBodies, type HeldBody } from './held-bodies.js';
import { refusalOf, stateRefusal, type LocalRefusal } from './local-refusal.js';
import { Relay } from './relay.js';
import { hasBody, screen } from './screen.js';
import { openUpstreamAgent } from './upstream-agent.js';

/** One upstream and the listener whose every path belongs to it. */
export interface Route {
  readonly name: string;
  /** Origin and base path, without a trailing slash. */
  readonly url: URL;
  readonly listen: { readonly host: string; readonly port: number };
  readonly dialect: Dialect;
  /** Longest wait for response headers, in ms. */
  readonly timeoutMs: number;
  /** The scope that a request belongs to, by its headers. */
  readonly scopeOf: (header: (name: string) => string | undefined) => string;
}

export interface UpstreamProxyOptions {
  readonly routes: readonly Route[];
  readonly governor: Governor;
  readonly observe: boolean;
  /** Longest `retry-after` of a local refusal, in ms. */
  readonly maxRetryAfterMs: number;
  /** Connections to upstreams go through the proxy that the environment names. */
  readonly viaProxy: boolean;
  readonly timers: Timers;
  /** Epoch ms. */
  readonly now: () => number;
  /** Takes the `Date` header of upstream answers, as a witness for the clock. */
  readonly onDate: (date: string) => void;
  readonly log: Log;
}

/** A client's pool keeps idle connections for less than this, so that it is never ours that close first. */
const KEEP_ALIVE_MS = 75_000;
/** Headers that take longer than this are an attack, or a dead client. */
const HEADERS_MS = 30_000;
const MAX_HEADER_BYTES = 65_536;
/** How often a drain looks whether the last exchange is over. */
const DRAIN_POLL_MS = 20;

interface OpenRoute {
  readonly route: Route;
  readonly server: Server;
  readonly agent: Dispatcher;
}

/**
 * The data plane: HTTP in, HTTP out. Owns the listeners and the way of a request through them; what a
 * request may spend is the governor's.
 */
export class UpstreamProxy {
  readonly #options: UpstreamProxyOptions;
  readonly #bodies = new HeldBodies();
  /** Our name in `Via`; unlike any other's, so that two Tidegates may stand behind one another. */
  readonly #pseudonym = `tidegate-${randomHex(4)}`;
  readonly #idPrefix = `tg_${randomHex(4)}`;
  readonly #open: OpenRoute[] = [];
  #requests = 0;
  #inFlight = 0;
  #draining = false;

  constructor(options: UpstreamProxyOptions) {
    this.#options = options;
  }

  /** Exchanges under way. */
  get inFlight(): number {
    return this.#inFlight;
  }

  get draining(): boolean {
    return this.#draining;
  }

  /** Opens every listener; rejects if one can't be. Returns where they listen, in the routes' order. */
  async listen(): Promise<readonly AddressInfo[]> {
    const addresses: AddressInfo[] = [];
    for (const route of this.#options.routes) {
      const { timeoutMs } = route;
      const { viaProxy } = this.#options;
      const agent = openUpstreamAgent({ headersTimeoutMs: timeoutMs, viaProxy });
      const server = this.#createServer(route, agent);
      this.#open.push({ route, server, agent });
      addresses.push(await listenOn(server, route.listen));
    }
    return addresses;
  }

  /** Admits nothing more and waits until what runs is over, at most `deadlineMs`; cuts off the rest. */
  async drain(deadlineMs: number): Promise<void> {
    this.#draining = true;
    const { now, timers } = this.#options;
    const deadline = now() + deadlineMs;
    while (this.#inFlight > 0 && now() < deadline) {
      await new Promise<void>((resolve) => void timers.after(DRAIN_POLL_MS, resolve));
    }
    for (const { server } of this.#open) server.closeAllConnections();
    // A cut exchange settles when its abort has come through.
    while (this.#inFlight > 0 && now() < deadline + DRAIN_POLL_MS * 50) {
      await new Promise<void>((resolve) => void timers.after(DRAIN_POLL_MS, resolve));
    }
  }

  /** Closes the listeners and the connections to the upstreams. */
  async close(): Promise<void> {
    this.#draining = true;
    for (const { server, agent } of this.#open.splice(0)) {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
      await agent.destroy();
    }
  }

  /** The way of a request: screened, held, admitted, forwarded; the relay settles it. */
  async #handle(
    { route, agent }: Pick<OpenRoute, 'route' | 'agent'>,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const exchange = { route, request, response, requestId: this.#nextRequestId() };
    const objection = screen(request, this.#pseudonym);
    if (objection !== null) return this.#answer(exchange, objection, { close: true });
    if (this.#draining)
      return this.#refuse(exchange, this.#stateRefusal(exchange, DRAINING), 'state');

    const path = request.url ?? '/';
    const [pathname = '/'] = path.split('?', 1);
    if (!route.dialect.isMetered(request.method ?? 'GET', pathname)) {
      return this.#forward(exchange, agent, null, null);
    }
    const held = await this.#hold(exchange);
    if (held === null) return;
    const admission = await this.#admit(exchange, held);
    if (admission === 'refused') return held.release();
    if (response.destroyed && admission !== null) {
      this.#options.governor.settle(admission, { kind: 'not-sent' });
      return held.release();
    }
    this.#forward(exchange, agent, held, admission);
  }

  /** Reads the whole body, or answers for it and returns null. */
  async #hold(exchange: Exchange): Promise<HeldBody | null> {
    const outcome = await this.#bodies.hold(exchange.request);
    switch (outcome.kind) {
      case 'held':
        return outcome.body;
      case 'too-large': {
        const message = `the body of a metered request may have at most ${outcome.limitBytes} bytes`;
        this.#answer(exchange, { kind: 'too-large', message }, { close: true });
        return null;
      }
      case 'no-room':
        this.#refuse(exchange, this.#stateRefusal(exchange, NO_ROOM), 'state');
        return null;
      case 'incomplete':
        exchange.response.destroy();
        return null;
    }
  }

  /** Null: passes unrecorded, in observe mode. A refusal is answered here. */
  async #admit(exchange: Exchange, held: HeldBody): Promise<Admission | null | 'refused'> {
    const { governor, maxRetryAfterMs, observe, log } = this.#options;
    const { route, request, requestId } = exchange;
    const fields = headerFields(request.headers);
    const scope = route.scopeOf((name) => fields.get(name));
    const { model, session } = route.dialect.readRequest(fields, held.bytes);
    const bodyBytes = held.bytes.length;
    const outcome = await governor.admit(scope, { requestId, model, session, bodyBytes });
    if (outcome.kind === 'admitted') {
      if (outcome.observed !== null) {
        const { decision, until } = outcome.observed;
        log.info('would refuse', { scope, requestId, decision, until: log.instant(until) });
      }
      return outcome.admission;
    }
    if (outcome.kind === 'state-unavailable') {
      if (observe) {
        log.warn('passed unrecorded: the state cannot be written', { scope, requestId });
        return null;
      }
      this.#refuse(exchange, this.#stateRefusal(exchange, STATE_UNAVAILABLE), 'state', scope);
      return 'refused';
    }
    const refusal = refusalOf(outcome.denial, requestId, maxRetryAfterMs);
    this.#refuse(exchange, refusal, outcome.denial.decision, scope);
    return 'refused';
  }

  #forward(
    exchange: Exchange,
    agent: Dispatcher,
    held: HeldBody | null,
    admission: Admission | null,
  ): void {
    const { governor, timers, now, onDate } = this.#options;
    const { route, request, response } = exchange;
    this.#inFlight += 1;
    const relay = new Relay({
      response,
      dialect: route.dialect,
      governor,
      admission,
      timers,
      now,
      onDate,
      onNoAnswer: (error) => this.#answerFailure(exchange, error),
      onDone: () => {
        this.#inFlight -= 1;
        held?.release();
      },
    });
    const { pathname, origin } = route.url;
    const streamed = held === null && hasBody(request);
    agent.dispatch(
      {
        origin,
        method: request.method as Dispatcher.HttpMethod,
        path: (pathname === '/' ? '' : pathname) + (request.url ?? '/'),
        headers: requestHeaders(request.rawHeaders, {
          pseudonym: this.#pseudonym,
          contentLength: streamed ? request.headers['content-length'] : undefined,
          httpVersion: request.httpVersion,
        }),
        body: held !== null ? held.bytes : streamed ? request : null,
      },
      relay,
    );
  }

  /** The upstream failed before it answered. */
  #answerFailure(exchange: Exchange, error: Error): void {
    const { route, requestId } = exchange;
    const code = (error as { code?: string }).code ?? error.name;
    const silent = code === 'UND_ERR_HEADERS_TIMEOUT';
    this.#options.log.warn('no answer from the upstream', {
      upstream: route.name,
      requestId,
      code,
    });
    const kind = silent ? 'upstream-silent' : 'upstream-unreachable';
    const message = silent
      ? `the upstream sent no answer within ${route.timeoutMs / 1000} s`
      : `the upstream ${route.url.host} can't be reached (${code})`;
    this.#answer(exchange, { kind, message }, { close: false });
  }

  #stateRefusal({ requestId }: Exchange, reason: string): LocalRefusal {
    return stateRefusal(reason, this.#options.now(), requestId, this.#options.maxRetryAfterMs);
  }

  #refuse(exchange: Exchange, refusal: LocalRefusal, decision: string, scope?: string): void {
    const { problem: kind, message, headers } = refusal;
    this.#options.log.info('refused', {
      requestId: exchange.requestId,
      ...(scope === undefined ? {} : { scope }),
      decision,
      until: headers['tidegate-blocked-until'],
    });
    this.#answer(exchange, { kind, message }, { close: this.#draining, headers });
  }

  /** An answer of our own, in the shape of the upstream's. */
  #answer(
    exchange: Exchange,
    problem: Pick<LocalProblem, 'kind' | 'message'>,
    options: { readonly close: boolean; readonly headers?: Readonly<Record<string, string>> },
  ): void {
    const { route, request, response, requestId } = exchange;
    if (response.destroyed) return;
    const answer = route.dialect.localAnswer({ ...problem, requestId });
    const unread = !request.complete && hasBody(request);
    response.writeHead(answer.status, {
      'content-type': answer.contentType,
      'content-length': Buffer.byteLength(answer.body),
      'cache-control': 'no-store',
      'tidegate-request-id': requestId,
      ...answer.headers,
      ...options.headers,
      // What is left of an unread body must not be taken for the next request.
      ...(options.close || unread ? { connection: 'close' } : {}),
    });
    response.end(answer.body);
  }

  #createServer(route: Route, agent: Dispatcher): Server {
    const server = createServer({
      keepAliveTimeout: KEEP_ALIVE_MS,
      headersTimeout: HEADERS_MS,
      // The whole of a large upload may take long; a body that stalls is given up by HeldBodies.
      requestTimeout: 0,
      maxHeaderSize: MAX_HEADER_BYTES,
    });
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      if (this.#draining) response.shouldKeepAlive = false;
      void this.#handle({ route, agent }, request, response);
    });
    server.on('connect', (_request, socket: Socket) => this.#answerRaw(route, socket, 400));
    server.on('clientError', (error: Error & { code?: string }, socket: Socket) => {
      const status = error.code === 'HPE_HEADER_OVERFLOW' ? 431 : 400;
      this.#answerRaw(route, socket, error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 408 : status);
    });
    return server;
  }

  /** To a peer whose message is no request that could be answered in the usual way. */
  #answerRaw({ dialect }: Route, socket: Socket, status: 400 | 408 | 431): void {
    if (!socket.writable || socket.destroyed) return;
    const requestId = this.#nextRequestId();
    const message = RAW_MESSAGES[status];
    const { contentType, body } = dialect.localAnswer({ kind: 'bad-request', message, requestId });
    socket.end(
      `HTTP/1.1 ${status} ${RAW_REASONS[status]}\r\nconnection: close\r\n` +
        `content-type: ${contentType}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n` +
        `tidegate-request-id: ${requestId}\r\n\r\n${body}`,
    );
  }

  #nextRequestId(): string {
    this.#requests += 1;
    return `${this.#idPrefix}${this.#requests.toString(36)}`;
  }
}

interface Exchange {
  readonly route: Route;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly requestId: string;
}

const DRAINING = 'Tidegate is shutting down and takes no new requests.';
const NO_ROOM = 'Tidegate holds as many request bodies as it may; try again in a moment.';
const STATE_UNAVAILABLE =
  'Tidegate cannot record this request at the moment, and forwards nothing that it has not recorded.';

const RAW_REASONS = {
  400: 'Bad Request',
  408: 'Request Timeout',
  431: 'Request Header Fields Too Large',
} as const;

const RAW_MESSAGES = {
  400: 'this is not a request that a reverse proxy may take (RFC 9112)',
  408: 'the headers of the request did not arrive in time',
  431: `the headers of a request may have at most ${MAX_HEADER_BYTES} bytes`,
} as const;

function listenOn(server: Server, { host, port }: Route['listen']): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port }, () => {
      server.off('error', reject);
      resolve(server.address() as AddressInfo);
    });
  });
}

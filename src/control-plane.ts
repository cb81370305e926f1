import 'reflect-metadata';
import type { IncomingMessage } from 'node:http';
import type { LoggerService } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { AppModule } from './app.module.js';
import type { DataPlane } from './data-plane.js';
import type { Log } from './platform/log.js';
import { outliveErrors } from './platform/server-errors.js';
import { stackOf } from './platform/tidegate-error.js';

/** Bodies of the control plane are small, where there are any. */
const LARGEST_BODY_BYTES = 65_536;

/** Builds the Nest application around a running data plane and opens its listener. */
export async function openControlPlane(
  plane: DataPlane,
  log: Log,
): Promise<NestFastifyApplication> {
  const adapter = new FastifyAdapter({
    bodyLimit: LARGEST_BODY_BYTES,
    // Nothing that the control plane answers is worth waiting for in a shutdown.
    forceCloseConnections: true,
    routerOptions: { ignoreTrailingSlash: true },
  });
  const nestLog = new NestLog(log);
  const app = await NestFactory.create<NestFastifyApplication>(AppModule.around(plane), adapter, {
    logger: nestLog,
    abortOnError: false,
    bodyParser: false,
    routeConflictPolicy: { duplicate: 'error', shadow: 'error' },
  });
  // No request here says anything in its body; whatever a client sends along is passed over.
  const fastify = adapter.getInstance();
  fastify.removeAllContentTypeParsers();
  fastify.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, _body, done) => done(null));
  fastify.addHook('onRequest', ({ raw }, reply, done) => {
    const message = objectionTo(raw);
    if (message === null) return done();
    const refused = { message, error: 'Bad Request', statusCode: 400 };
    void reply.code(400).header('connection', 'close').send(refused);
  });
  const { host, port } = plane.config.admin.listen;
  try {
    await app.listen(port, host);
  } catch (error) {
    // Its intervals have begun, and would keep the process alive.
    await app.close();
    throw error;
  }
  outliveErrors(app.getHttpServer(), 'control', log);
  nestLog.open();
  return app;
}

/**
 * Who is asked must be said once: Node takes the first of several Hosts, and knows none in a target, where somebody
 * on the way may have taken another (RFC 9112 §3.2).
 */
function objectionTo({ headersDistinct, url = '' }: IncomingMessage): string | null {
  if ((headersDistinct['host']?.length ?? 0) > 1) return 'a request has one Host';
  return url.startsWith('/') ? null : 'the request target must be a path';
}

/** What Nest has to say, as lines of our log; its start-up chatter is left out. */
class NestLog implements LoggerService {
  #open = false;

  constructor(private readonly out: Log) {}

  /** What fails before is thrown as well, and told by whoever catches it. */
  open(): void {
    this.#open = true;
  }

  log(): void {}

  warn(message: unknown, context?: unknown): void {
    this.out.warn(stackOf(message), { context: stackOf(context ?? '') });
  }

  error(message: unknown, stack?: unknown): void {
    if (!this.#open) return;
    this.out.error(stackOf(message), { stack: stackOf(stack ?? '') });
  }
}

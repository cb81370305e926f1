import type { Server } from 'node:net';
import { SYSTEM_TIME } from './clock.js';
import { errorCode } from './tidegate-error.js';
import type { Log } from './log.js';

/** One line in so long: a process that is out of files or memory fails at connection after connection. */
const TELL_EVERY_MS = 10_000;

/** A connection that can't be accepted is that client's misfortune; without a listener it would end the process. */
export function outliveErrors(
  server: Server,
  port: 'proxy' | 'control',
  log: Log,
  monotonic: () => number = SYSTEM_TIME.monotonic,
): void {
  let toldAt = Number.NEGATIVE_INFINITY;
  server.on('error', (error) => {
    if (monotonic() - toldAt < TELL_EVERY_MS) return;
    toldAt = monotonic();
    const [code, problem] = [errorCode(error), error.message];
    log.warn('a connection could not be accepted', { port, code, problem });
  });
}

import type { IncomingMessage } from 'node:http';
import { PassThrough } from 'node:stream';
import type { Timers } from '../platform/timers.js';
import { IDLE_MS } from './held-bodies.js';

/**
 * The body of a request that spends nothing: it goes on as it comes. undici destroys what it was
 * given, and the request must live on.
 *
 * A client that sends nothing for `IDLE_MS`, twice that at the most, is given up; unless it is kept
 * from sending, for then the upstream is waited for, and undici does not wait forever.
 */
export function streamedBody(request: IncomingMessage, timers: Timers): PassThrough {
  const body = request.pipe(new PassThrough());
  const { socket } = request;
  let seen = socket.bytesRead;
  const look = () => {
    if (socket.bytesRead === seen && !body.writableNeedDrain) return void request.destroy();
    seen = body.writableNeedDrain ? Number.NaN : socket.bytesRead;
    cancel = timers.after(IDLE_MS, look);
  };
  let cancel = timers.after(IDLE_MS, look);
  request.once('end', () => cancel()).once('close', () => cancel());
  return body;
}

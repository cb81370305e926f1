import { subscribe } from 'node:diagnostics_channel';
import type { Socket } from 'node:net';

let breaking = false;
const begin = () => (breaking = true);
const end = () => (breaking = false);

// Sent for every connection that undici has taken over: twice for one through a proxy. What listens to an
// error is called one after the other, and nothing else meanwhile: `begin` first, then undici, `end` last.
subscribe('undici:client:connected', (message) => {
  const { socket } = message as { readonly socket: Socket };
  socket.off('error', begin).off('error', end);
  socket.prependListener('error', begin).on('error', end);
});

/**
 * Whether what undici says now is said because a connection broke. Of an answer that ends with its
 * connection it takes a reset for the end, and says that it is whole.
 */
export function connectionBreaks(): boolean {
  return breaking;
}

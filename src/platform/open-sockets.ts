import { Socket } from 'node:net';

/** Sockets for a driver that makes its own connections, and may not close those that are stuck. */
export class OpenSockets {
  readonly #open = new Set<Socket>();

  /** A new one, not connected yet. */
  create(): Socket {
    const socket = new Socket();
    this.#open.add(socket);
    return socket.once('close', () => this.#open.delete(socket));
  }

  /** Closes all that are open, without a word to the other side. */
  cut(): void {
    for (const socket of this.#open) socket.destroy();
  }
}

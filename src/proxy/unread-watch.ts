import type { Socket } from 'node:net';
import type { Cancel, Timers } from '../platform/timers.js';

/** A client that takes nothing of what waits for it for this long, twice that at the most, is given up. */
export const UNREAD_MS = 600_000;

/**
 * Looks whether a client that is behind still reads. One that has stopped, and keeps its connection, would hold one to
 * the upstream, its charge in flight and a place in a drain for as long as the upstream has patience.
 *
 * What counts is what the kernel took, which is more than the client has read: it may be megabytes ahead,
 * and goes on in steps. That the client sends something is no sign that it reads.
 */
export class UnreadWatch {
  /** What it had taken at the last look; null: nothing waited for it. */
  #taken: number | null = null;
  #cancel: Cancel | null = null;

  constructor(
    private readonly socket: Socket,
    private readonly timers: Timers,
    /** An answer is on its way. */
    private readonly isDue: () => boolean,
    private readonly onUnread: () => void,
  ) {}

  /** Something waits for the client. */
  begin(): void {
    if (this.#cancel === null) this.#go();
  }

  end(): void {
    this.#cancel?.();
  }

  #go(): void {
    const { socket } = this;
    this.#taken = socket.writableLength > 0 ? socket.bytesWritten - socket.writableLength : null;
    this.#cancel = this.timers.after(UNREAD_MS, () => this.#look());
  }

  #look(): void {
    const { socket } = this;
    const waiting = socket.writableLength;
    if (waiting > 0 && socket.bytesWritten - waiting === this.#taken) return this.onUnread();
    this.#cancel = null;
    if (this.isDue()) this.#go();
  }
}

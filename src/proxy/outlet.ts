import type { ServerResponse } from 'node:http';

/** Pieces are joined up to this size: to copy more would cost more than a write does. */
const JOINED_BYTES = 16_384;

/**
 * Where an answer goes out. The head, and the small pieces that come in one turn of the event loop,
 * leave in one write, for Node makes four of each piece of a chunked answer. Nothing ever waits for
 * what has not come yet.
 */
export class Outlet {
  #pieces: Buffer[] = [];
  #bytes = 0;
  #headDue = false;
  #flushDue = false;

  /** `onFull`: the client is behind, and `response` says `drain` when it is not any more. */
  constructor(
    private readonly response: ServerResponse,
    private readonly onFull: () => void,
  ) {}

  /** The head was written; with no piece in this turn it goes out alone. */
  open(): void {
    this.#headDue = true;
    this.#flushSoon();
  }

  write(piece: Buffer): void {
    if (this.#bytes + piece.length > JOINED_BYTES) this.#flush();
    this.#pieces.push(piece);
    this.#bytes += piece.length;
    if (this.#bytes > JOINED_BYTES) this.#flush();
    else this.#flushSoon();
  }

  /** What is left to be written with the end of the answer. */
  takeRest(): Buffer | undefined {
    const rest = this.#pieces.length > 1 ? Buffer.concat(this.#pieces) : this.#pieces[0];
    this.#pieces = [];
    this.#bytes = 0;
    return rest;
  }

  /** What is here goes out now. */
  flush(): void {
    if (this.response.writableEnded || this.response.destroyed) return;
    this.#flush();
    if (this.#headDue) this.response.flushHeaders();
    this.#headDue = false;
  }

  #flushSoon(): void {
    if (this.#flushDue) return;
    this.#flushDue = true;
    queueMicrotask(this.#atEndOfTurn);
  }

  /** One function for all events of the answer. */
  readonly #atEndOfTurn = () => {
    this.#flushDue = false;
    this.flush();
  };

  #flush(): void {
    const rest = this.takeRest();
    if (rest === undefined) return;
    this.#headDue = false;
    if (!this.response.write(rest)) this.onFull();
  }
}

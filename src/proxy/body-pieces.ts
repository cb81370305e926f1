/** A piece from this size on stays where it is: its own object costs next to nothing beside it. */
const LARGE_BYTES = 4_096;
/** Smaller ones share blocks, which grow with the body up to this size. */
const BLOCK_BYTES = 65_536;

/**
 * A body that comes in pieces. Each piece is an object of its own and keeps all that was read with it
 * in memory, so that a body in chunks of one byte would take hundreds of times its size. What is
 * small, or little of what was read, is copied therefore; the only piece of a body never is.
 */
export class BodyPieces {
  /** Bytes of the body. */
  received = 0;
  /** Bytes of memory that they take. */
  held = 0;
  #only: Buffer | null = null;
  readonly #parts: Buffer[] = [];
  #block: Buffer = Buffer.alloc(0);
  /** The part of the block that is in no other part yet. */
  #from = 0;
  #to = 0;

  push(piece: Buffer): void {
    const isFirst = this.received === 0;
    this.received += piece.length;
    if (isFirst) {
      this.#only = piece;
      this.held = piece.length;
      return;
    }
    if (this.#only !== null) {
      this.held = 0;
      this.#place(this.#only);
      this.#only = null;
    }
    this.#place(piece);
  }

  whole(): Buffer {
    if (this.#only !== null) return this.#only;
    this.#closePart();
    return Buffer.concat(this.#parts, this.received);
  }

  #place(piece: Buffer): void {
    const read = piece.buffer.byteLength;
    if (piece.length >= LARGE_BYTES && 2 * piece.length >= read) {
      this.#closePart();
      this.#parts.push(piece);
      this.held += read;
      return;
    }
    if (this.#to + piece.length > this.#block.length) {
      this.#closePart();
      // Not from Node's pool, whose slabs are shared with what lives for longer.
      const size = Math.max(piece.length, Math.min(this.received, BLOCK_BYTES));
      this.#block = Buffer.allocUnsafeSlow(size);
      this.#from = this.#to = 0;
      this.held += size;
    }
    this.#to += piece.copy(this.#block, this.#to);
  }

  #closePart(): void {
    if (this.#to > this.#from) this.#parts.push(this.#block.subarray(this.#from, this.#to));
    this.#from = this.#to;
  }
}

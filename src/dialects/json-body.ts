import { JsonCursor, lastMember } from './json.js';

/** What is kept of a body: its beginning and its end, each so many bytes. */
const KEPT_BYTES = 65_536;
const NOTHING = Buffer.alloc(0);

/**
 * A body that is one JSON object, as far as single members of it are asked for. Its beginning and
 * its end are kept, 64 KiB each, and read once the body is whole: the one member of any size is the
 * content, and what is asked for stands before or behind it. To keep them is a copy of 0.1 ns a
 * byte; an incremental scan of all bytes would cost ten times that.
 */
export class JsonBody {
  #kept: Buffer = NOTHING;
  #length = 0;
  /** Bytes between the beginning and the end have been let go. */
  #gap = false;

  push(chunk: Buffer): void {
    for (let at = 0; at < chunk.length;) {
      if (this.#length === 3 * KEPT_BYTES) this.#letGo();
      const take = Math.min(chunk.length - at, 3 * KEPT_BYTES - this.#length);
      this.#grow(this.#length + take);
      chunk.copy(this.#kept, this.#length, at, at + take);
      this.#length += take;
      at += take;
    }
  }

  /**
   * Shows the raw values of the outermost object's members named in `keys`, and forgets the body.
   * True if the object came to its end.
   */
  read(keys: readonly string[], show: (key: string, value: Buffer) => void): boolean {
    const body = this.#kept.subarray(0, this.#length);
    this.#kept = NOTHING;
    this.#length = 0;
    const cursor = new JsonCursor(this.#gap ? body.subarray(0, KEPT_BYTES) : body);
    if (!cursor.enterObject()) return false;
    for (let key = cursor.nextOf(keys); key !== null; key = cursor.nextOf(keys)) {
      const value = cursor.skipValue();
      if (value === null) break;
      show(key, value);
    }
    if (!this.#gap) return cursor.ended;
    const end = body.subarray(KEPT_BYTES);
    for (const key of keys) {
      const value = lastMember(end, key);
      if (value !== null) show(key, value);
    }
    // A last brace is all there is to tell the end by.
    return end.toString('latin1').trimEnd().endsWith('}');
  }

  /** Twice the end is kept before half of it goes, so that no byte is moved more than once. */
  #letGo(): void {
    this.#kept.copyWithin(KEPT_BYTES, 2 * KEPT_BYTES, 3 * KEPT_BYTES);
    this.#length = 2 * KEPT_BYTES;
    this.#gap = true;
  }

  #grow(length: number): void {
    if (length <= this.#kept.length) return;
    // Most answers come in one piece: room for more is made when there is more.
    const room = this.#length === 0 ? length : Math.min(3 * KEPT_BYTES, length * 2);
    const grown = Buffer.allocUnsafe(room);
    this.#kept.copy(grown, 0, 0, this.#length);
    this.#kept = grown;
  }
}

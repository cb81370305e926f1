import { spells } from './bytes.js';
import { KeptBytes } from './kept-bytes.js';

/**
 * Splits a stream of server-sent events (WHATWG HTML §9.2.6) into its events as the bytes pass by.
 *
 * Lines end with LF, CR or CRLF; chunks may be cut anywhere. An event within one chunk is shown
 * where it lies; only what a cut leaves over is copied. A line or an event over the bound is not
 * kept: it is skipped as a whole, and the splitter goes on after it.
 */

const LF = 0x0a;
const CR = 0x0d;
const COLON = 0x3a;
const SPACE = 0x20;
const LETTER_D = 0x64;
const LETTER_E = 0x65;

/** Longest event that is kept, in bytes. Those that hold usage or errors have a few hundred. */
export const MAX_EVENT_BYTES = 262_144;
/** A line may be longer than its data by a byte order mark and `data: `. */
const LINE_PREFIX_BYTES = 9;
/** A longer event name is none that any dialect knows. */
const MAX_NAME_BYTES = 64;

/**
 * `name` is empty if the event has none, and cut after 64 characters. `data` is valid during the
 * call only.
 */
export type OnEvent = (name: string, data: Buffer) => void;

/** By the value of `content-type`. */
export function isEventStream(contentType: string): boolean {
  return /^\s*text\/event-stream\b/i.test(contentType);
}

export class SseSplitter {
  readonly #onEvent: OnEvent;
  readonly #maxBytes: number;

  /** The beginning of a line whose end has not come yet. */
  readonly #line: KeptBytes;
  /** The data of the event under way, once it is not just one stretch of the present chunk. */
  readonly #data: KeptBytes;
  /** Else its data lie here, from `#start` to `#end`. */
  #chunk: Buffer | null = null;
  #start = 0;
  #end = 0;

  #name = '';
  #lastName = '';
  #hasData = false;
  #firstLine = true;
  #afterCr = false;
  #lineTooLong = false;
  #eventTooLong = false;

  constructor(onEvent: OnEvent, maxBytes = MAX_EVENT_BYTES) {
    this.#onEvent = onEvent;
    this.#maxBytes = maxBytes;
    this.#line = new KeptBytes(maxBytes + LINE_PREFIX_BYTES);
    this.#data = new KeptBytes(maxBytes);
  }

  push(chunk: Buffer): void {
    const length = chunk.length;
    let lineStart = 0;
    for (let at = 0; at < length; at++) {
      const byte = chunk[at];
      if (byte !== LF && byte !== CR) continue;
      // The LF of a CRLF ends nothing that its CR has not ended.
      if (byte === CR || !this.#afterCr || at !== lineStart) this.#endLine(chunk, lineStart, at);
      // Where the CR is the last byte of a chunk, the next chunk has to know.
      this.#afterCr = byte === CR;
      lineStart = at + 1;
    }
    // Before the next line is kept, for the data may lie where the one before it was kept.
    this.#keepData();
    if (lineStart < length) {
      this.#afterCr = false;
      if (!this.#lineTooLong) this.#lineTooLong = !this.#line.append(chunk, lineStart, length);
    }
  }

  /** The stream ended. An event that lacks its blank line is shown as far as it came. */
  end(): void {
    if (this.#line.length > 0 || this.#lineTooLong) this.#endLine(NOTHING, 0, 0);
    this.#endEvent();
  }

  #endLine(chunk: Buffer, start: number, end: number): void {
    if (this.#lineTooLong) {
      this.#lineTooLong = false;
      this.#line.clear();
      this.#eventTooLong = true;
    } else if (this.#line.length === 0) {
      // The same bound as for a line in pieces: what is skipped must not depend on the chunks.
      if (end - start > this.#maxBytes + LINE_PREFIX_BYTES) this.#eventTooLong = true;
      else this.#takeLine(chunk, start, end);
    } else if (this.#line.append(chunk, start, end)) {
      const line = this.#line.take();
      this.#takeLine(line, 0, line.length);
    } else {
      this.#line.clear();
      this.#eventTooLong = true;
    }
  }

  #takeLine(bytes: Buffer, lineStart: number, end: number): void {
    let start = lineStart;
    if (this.#firstLine) {
      this.#firstLine = false;
      if (spells(bytes, start, Math.min(start + 3, end), BYTE_ORDER_MARK)) start += 3;
    }
    if (start >= end) {
      this.#endEvent();
      return;
    }
    // Comments, `id`, `retry` and fields nobody knows are passed over by their first letters.
    const first = bytes[start];
    if (first !== LETTER_D && first !== LETTER_E) return;
    let colon = start;
    while (colon < end && bytes[colon] !== COLON) colon++;
    const value = colon + 1 < end && bytes[colon + 1] === SPACE ? colon + 2 : colon + 1;
    if (spells(bytes, start, colon, 'data')) this.#takeData(bytes, Math.min(value, end), end);
    else if (spells(bytes, start, colon, 'event')) this.#takeName(bytes, Math.min(value, end), end);
  }

  #takeName(bytes: Buffer, start: number, end: number): void {
    // One name out of a few comes again and again: to compare it is cheaper than to decode it.
    if (!spells(bytes, start, end, this.#lastName)) {
      this.#lastName = bytes.toString('latin1', start, Math.min(end, start + MAX_NAME_BYTES));
    }
    this.#name = this.#lastName;
  }

  #takeData(bytes: Buffer, start: number, end: number): void {
    if (end - start > this.#maxBytes) {
      this.#eventTooLong = true;
    } else if (!this.#hasData) {
      this.#hasData = true;
      this.#chunk = bytes;
      this.#start = start;
      this.#end = end;
    } else {
      this.#keepData();
      this.#eventTooLong ||= !(
        this.#data.append(NEWLINE, 0, 1) && this.#data.append(bytes, start, end)
      );
    }
  }

  /** Copies what lies in a chunk that is about to go. */
  #keepData(): void {
    if (this.#chunk === null) return;
    this.#data.append(this.#chunk, this.#start, this.#end);
    this.#chunk = null;
  }

  #endEvent(): void {
    const name = this.#name;
    const shown = this.#hasData && !this.#eventTooLong;
    const data =
      this.#chunk === null ? this.#data.take() : this.#chunk.subarray(this.#start, this.#end);
    this.#name = '';
    this.#chunk = null;
    this.#hasData = false;
    this.#eventTooLong = false;
    // An event without a data line is shown to nobody, as the standard says.
    if (shown) this.#onEvent(name, data);
  }
}

const NEWLINE = Buffer.from('\n');
const NOTHING = Buffer.alloc(0);
/** U+FEFF in UTF-8, as the bytes are. */
const BYTE_ORDER_MARK = '\xef\xbb\xbf';

import { spells } from './bytes.js';

/**
 * JSON read without building it: what the hot path wants to know of a body of up to 32 MB is a few
 * bytes of it. All of this is total: on bytes that are not JSON it finds nothing, and throws
 * nothing.
 *
 * Measured on Node 24: walking prose costs 0.2 ns a byte and walking code, full of quotes, 1 ns.
 * `JSON.parse` with its decoding costs 1.0 to 1.5 ns, and puts all of the body on the heap.
 */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const COMMA = 0x2c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;

/**
 * A string this long is searched for its end natively: the call costs as much as 60 bytes by hand.
 */
const NEAR = 64;
/** A search from the end gives up after so many places where the key's text occurs. */
const MAX_CANDIDATES = 64;

/** Undefined for a text that is not JSON; no JSON text means undefined. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The same; of a list its first value, for Gemini puts the error of a streamed request into one. */
export function parseUnlisted(text: string): unknown {
  const parsed = parseJson(text);
  return Array.isArray(parsed) ? parsed[0] : parsed;
}

/** Empty for what is nested too deeply for the engine, which can read it. */
export function writeJson(value: unknown): string {
  try {
    return JSON.stringify(value);
  } catch {
    return '';
  }
}

/** The own member `name` of a parsed object; undefined where there is none. */
export function member(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined;
  return (value as Record<string, unknown>)[name];
}

/** Walks one JSON value from a place in the bytes, as far as asked, without copying. */
export class JsonCursor {
  readonly #bytes: Buffer;
  #at: number;
  #keyStart = 0;
  #keyEnd = 0;
  #valueStart = 0;
  #ended = false;

  constructor(bytes: Buffer, at = 0) {
    this.#bytes = bytes;
    this.#at = at;
  }

  get position(): number {
    return this.#at;
  }

  /** `nextKey` or `nextOf` came to the object's closing brace, rather than to the end of the bytes. */
  get ended(): boolean {
    return this.#ended;
  }

  enterObject(): boolean {
    return this.#enter(OPEN_BRACE);
  }

  enterArray(): boolean {
    return this.#enter(OPEN_BRACKET);
  }

  /**
   * The next key of the object entered, escapes left as they are; null at its end or that of the
   * bytes.
   */
  nextKey(): string | null {
    return this.#stepOverKey() ? this.#bytes.toString('utf8', this.#keyStart, this.#keyEnd) : null;
  }

  /**
   * The next key that is one of `keys`, all others stepped over with their values; null as for
   * `nextKey`. To make a string of every key costs as much as to step over 250 bytes.
   */
  nextOf(keys: readonly string[]): string | null {
    while (this.#stepOverKey()) {
      const key = oneOf(keys, this.#bytes, this.#keyStart, this.#keyEnd);
      if (key !== null) return key;
      if (!this.#stepOverValue()) return null;
    }
    return null;
  }

  /** Steps over the next value; null if the bytes end within it, or if there is none. */
  skipValue(): Buffer | null {
    const found = this.#stepOverValue();
    return found ? this.#bytes.subarray(this.#valueStart, this.#at) : null;
  }

  #stepOverKey(): boolean {
    this.#skipSeparator(COMMA);
    const byte = this.#bytes[this.#at];
    if (byte !== QUOTE) {
      this.#ended = byte === CLOSE_BRACE;
      return false;
    }
    const close = closingQuote(this.#bytes, this.#at + 1);
    if (close === -1) return false;
    this.#keyStart = this.#at + 1;
    this.#keyEnd = close;
    this.#at = close + 1;
    this.#skipSeparator(COLON);
    return true;
  }

  #stepOverValue(): boolean {
    this.#skipSeparator(COMMA);
    const start = this.#at;
    const end = valueEnd(this.#bytes, start);
    if (end === -1 || end === start) return false;
    this.#valueStart = start;
    this.#at = end;
    return true;
  }

  #enter(bracket: number): boolean {
    this.#at = afterSpace(this.#bytes, this.#at);
    if (this.#bytes[this.#at] !== bracket) return false;
    this.#at++;
    return true;
  }

  /** Skips space, and one `separator` within it. */
  #skipSeparator(separator: number): void {
    this.#at = afterSpace(this.#bytes, this.#at);
    if (this.#bytes[this.#at] === separator) this.#at = afterSpace(this.#bytes, this.#at + 1);
  }
}

/**
 * The raw value of the last member named `key` that lies directly in the outermost object, judged
 * from the end: `tail` is the end of a whole document, beginning anywhere. Null if there is none.
 *
 * A key's quotes are bare, while quotes inside a string are escaped; so the text `"key":` can only
 * be a key, and a walk that starts there knows that it is outside of strings. It is a key of the
 * outermost object if from there to the end one more bracket closes than opens.
 */
export function lastMember(tail: Buffer, key: string): Buffer | null {
  const needle = `"${key}"`;
  let walkedFrom = tail.length;
  let depth = 0;
  let at = tail.lastIndexOf(needle);
  for (let candidates = 0; at !== -1 && candidates < MAX_CANDIDATES; candidates++) {
    const value = valueAfterKey(tail, at, needle.length);
    if (value !== -1) {
      depth += netDepth(tail, at, walkedFrom);
      walkedFrom = at;
      const end = depth === -1 ? valueEnd(tail, value) : -1;
      if (end > value) return tail.subarray(value, end);
    }
    at = at === 0 ? -1 : tail.lastIndexOf(needle, at - 1);
  }
  return null;
}

/** Where the value begins if the text at `at` is a key; -1 if it is not. */
function valueAfterKey(bytes: Buffer, at: number, length: number): number {
  if (at > 0 && bytes[at - 1] === BACKSLASH) return -1;
  const colon = afterSpace(bytes, at + length);
  return bytes[colon] === COLON ? afterSpace(bytes, colon + 1) : -1;
}

/** Brackets opened less brackets closed, from a place outside of strings. */
function netDepth(bytes: Buffer, from: number, to: number): number {
  let depth = 0;
  for (let at = from; at < to; at++) {
    const byte = bytes[at];
    if (byte === QUOTE) {
      at = closingQuote(bytes, at + 1);
      if (at === -1) return depth;
    } else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) depth++;
    else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) depth--;
  }
  return depth;
}

/** After the last byte of the value that starts at `at`; -1 if the bytes end within it. */
function valueEnd(bytes: Buffer, start: number): number {
  if (bytes[start] === QUOTE) {
    const close = closingQuote(bytes, start + 1);
    return close === -1 ? -1 : close + 1;
  }
  let depth = 0;
  for (let at = start; at < bytes.length; at++) {
    const byte = bytes[at];
    if (byte === QUOTE) {
      at = closingQuote(bytes, at + 1);
      if (at === -1) return -1;
    } else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) depth++;
    else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
      // Below its start: a number or word ends with the bracket of what holds it.
      if (depth === 0) return at;
      if (--depth === 0) return at + 1;
    } else if (depth === 0 && (byte === COMMA || isSpace(byte))) return at;
  }
  return -1;
}

/** The quote that ends the string whose text begins at `from`; -1 if the bytes end first. */
function closingQuote(bytes: Buffer, from: number): number {
  const end = bytes.length;
  let at = from;
  while (at < end) {
    for (const near = Math.min(end, at + NEAR); at < near; at++) {
      const byte = bytes[at];
      if (byte === QUOTE) return at;
      if (byte === BACKSLASH) at++;
    }
    // `at` is not escaped here: an escaped byte was stepped over together with its backslash.
    const quote = bytes.indexOf(QUOTE, at);
    if (quote === -1) return -1;
    let backslashes = 0;
    while (quote - backslashes > at && bytes[quote - backslashes - 1] === BACKSLASH) backslashes++;
    if (backslashes % 2 === 0) return quote;
    at = quote + 1;
  }
  return -1;
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

export function afterSpace(bytes: Buffer, from: number): number {
  let at = from;
  while (isSpace(bytes[at])) at++;
  return at;
}

/** Shows every string that stands as the value of one of `keys`, at any depth, and a bare one. */
export function eachText(
  bytes: Buffer,
  keys: readonly string[],
  show: (start: number, end: number) => void,
): void {
  // Only of a value that is itself a string, for a key at the cut end of an object looks like one.
  let wanted = bytes[afterSpace(bytes, 0)] === QUOTE;
  for (let at = 0; at < bytes.length; at++) {
    if (bytes[at] !== QUOTE) continue;
    const close = closingQuote(bytes, at + 1);
    if (close === -1) return;
    if (bytes[afterSpace(bytes, close + 1)] === COLON) {
      wanted = oneOf(keys, bytes, at + 1, close) !== null;
    } else if (wanted) show(at + 1, close);
    at = close;
  }
}

/** The one of `keys` that stands there; null if none does. */
function oneOf(keys: readonly string[], bytes: Buffer, start: number, end: number): string | null {
  for (const key of keys) if (spells(bytes, start, end, key)) return key;
  return null;
}

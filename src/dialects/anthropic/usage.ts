import type { StreamFailure, TokenUsage, UsageReader } from '../dialect.js';
import { eachText, JsonCursor, lastMember, member, parseJson } from '../json.js';
import { SseSplitter } from '../sse.js';

/**
 * How much text one token stands for at least: Anthropic's own floor for a cut stream (wire facts
 * §2).
 */
const CHARACTERS_PER_TOKEN = 4;
/** What is kept of a JSON body: its beginning and its end, each so many bytes. */
const KEPT_BYTES = 65_536;

/**
 * Where generated text stands in a `content_block_delta`. A signature is none, nor is a citation.
 */
const TEXT_KEYS = ['text', 'partial_json', 'thinking'].map((key) => Buffer.from(key));

/**
 * Steps of one request that the usage lists in `iterations` without adding them to its own figures:
 * the summary of a compaction and the advice of an advisor model. The limits count them.
 */
const UNCOUNTED_ITERATIONS = new Set<unknown>(['compaction', 'advisor_message']);
const MAX_ITERATIONS = 1000;

/** For `text/event-stream` the stream's own reader, for all else that of a JSON body. */
export function openUsageReader(contentType: string): UsageReader {
  return /^\s*text\/event-stream\b/i.test(contentType) ? new StreamReader() : new BodyReader();
}

/**
 * Usage of a stream (wire facts §2 "SSE order", "Usage"). Only four kinds of event are parsed,
 * about four a stream; of the many `content_block_delta` nothing but the length of their text is
 * read. An event costs about 0.6 µs, most of it the search for line ends.
 */
class StreamReader implements UsageReader {
  readonly #splitter = new SseSplitter((name, data) => this.#onEvent(name, data));
  readonly #tally = new Tally();
  #characters = 0;
  #stopped = false;
  #failure: StreamFailure | null = null;

  push(chunk: Buffer): TokenUsage {
    this.#splitter.push(chunk);
    return this.#usage();
  }

  end(): TokenUsage {
    this.#splitter.end();
    return this.#usage();
  }

  #usage(): TokenUsage {
    const relayed = Math.ceil(this.#characters / CHARACTERS_PER_TOKEN);
    return this.#tally.usage(relayed, this.#stopped, this.#failure);
  }

  #onEvent(name: string, data: Buffer): void {
    // Gateways that write a stream anew leave out the event's name: its type says the same.
    switch (name === '' ? typeOf(data) : name) {
      case 'content_block_delta':
        this.#characters += countText(data);
        break;
      case 'message_start':
        this.#tally.add(member(member(parseJson(data.toString()), 'message'), 'usage'));
        break;
      case 'message_delta':
        this.#tally.add(member(parseJson(data.toString()), 'usage'));
        break;
      case 'message_stop':
        this.#stopped = true;
        break;
      case 'error':
        this.#failure = failureOf(parseJson(data.toString()));
        break;
    }
  }
}

/**
 * Usage of a body that is one JSON object. Its beginning and its end are kept, 64 KiB each, and
 * read once the body is whole: the one member of any size is `content`, and `usage` stands before
 * or behind it. To keep them is a copy of 0.1 ns a byte; an incremental scan of all bytes would
 * cost ten times that.
 */
class BodyReader implements UsageReader {
  readonly #tally = new Tally();
  #kept = Buffer.alloc(0);
  #length = 0;
  /** Bytes between the beginning and the end have been let go. */
  #gap = false;

  push(chunk: Buffer): TokenUsage {
    for (let at = 0; at < chunk.length;) {
      if (this.#length === 3 * KEPT_BYTES) this.#letGo();
      const take = Math.min(chunk.length - at, 3 * KEPT_BYTES - this.#length);
      this.#grow(this.#length + take);
      chunk.copy(this.#kept, this.#length, at, at + take);
      this.#length += take;
      at += take;
    }
    return this.#tally.usage(0, false, null);
  }

  end(): TokenUsage {
    const whole = this.#read();
    this.#kept = Buffer.alloc(0);
    this.#length = 0;
    return this.#tally.usage(0, whole, null);
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

  /** True if the object came to its end. */
  #read(): boolean {
    const body = this.#kept.subarray(0, this.#length);
    const cursor = new JsonCursor(this.#gap ? body.subarray(0, KEPT_BYTES) : body);
    if (!cursor.enterObject()) return false;
    for (let key = cursor.nextKey(); key !== null; key = cursor.nextKey()) {
      const value = cursor.skipValue();
      if (value === null) break;
      if (key === 'usage') this.#tally.add(parseJson(value.toString()));
    }
    if (!this.#gap) return cursor.ended;
    const end = body.subarray(KEPT_BYTES);
    const usage = lastMember(end, 'usage');
    if (usage !== null) this.#tally.add(parseJson(usage.toString()));
    // With the usage in the beginning alone, a last brace is all there is to tell the end by.
    return usage !== null || /\}\s*$/.test(end.toString('latin1', Math.max(0, end.length - 64)));
  }
}

/**
 * The figures stated so far. `message_delta` is cumulative, so that a later figure takes the place
 * of an earlier one and null of none; figures of the prompt are never taken back, because gateways
 * write 0 there where they know nothing.
 */
class Tally {
  #input: number | null = null;
  #cacheWrite = 0;
  #cacheRead = 0;
  #output: number | null = null;
  #uncounted = { input: 0, cacheWrite: 0, cacheRead: 0, output: 0 };

  add(usage: unknown): void {
    const input = count(member(usage, 'input_tokens'));
    if (input !== null) this.#input = Math.max(this.#input ?? 0, input);
    this.#cacheWrite = Math.max(this.#cacheWrite, cacheWrites(usage));
    this.#cacheRead = Math.max(
      this.#cacheRead,
      count(member(usage, 'cache_read_input_tokens')) ?? 0,
    );
    this.#output = count(member(usage, 'output_tokens')) ?? this.#output;
    const iterations = member(usage, 'iterations');
    if (Array.isArray(iterations)) this.#addIterations(iterations);
  }

  usage(relayed: number, ended: boolean, failure: StreamFailure | null): TokenUsage {
    const known = this.#input !== null;
    const cacheWrite = this.#cacheWrite + this.#uncounted.cacheWrite;
    return {
      inputTokens: known ? (this.#input ?? 0) + this.#uncounted.input + cacheWrite : null,
      cachedTokens: this.#cacheRead + this.#uncounted.cacheRead,
      cacheWriteTokens: cacheWrite,
      outputTokens: this.#output === null ? null : this.#output + this.#uncounted.output,
      relayedOutputTokens: relayed,
      complete: ended && known && this.#output !== null,
      failure,
    };
  }

  #addIterations(iterations: readonly unknown[]): void {
    const sum = { input: 0, cacheWrite: 0, cacheRead: 0, output: 0 };
    for (const iteration of iterations.slice(0, MAX_ITERATIONS)) {
      if (!UNCOUNTED_ITERATIONS.has(member(iteration, 'type'))) continue;
      sum.input += count(member(iteration, 'input_tokens')) ?? 0;
      sum.cacheWrite += cacheWrites(iteration);
      sum.cacheRead += count(member(iteration, 'cache_read_input_tokens')) ?? 0;
      sum.output += count(member(iteration, 'output_tokens')) ?? 0;
    }
    this.#uncounted = sum;
  }
}

function cacheWrites(usage: unknown): number {
  const total = count(member(usage, 'cache_creation_input_tokens'));
  if (total !== null) return total;
  const parts = member(usage, 'cache_creation');
  return (
    (count(member(parts, 'ephemeral_5m_input_tokens')) ?? 0) +
    (count(member(parts, 'ephemeral_1h_input_tokens')) ?? 0)
  );
}

function count(value: unknown): number | null {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : null;
}

function failureOf(event: unknown): StreamFailure {
  switch (member(member(event, 'error'), 'type')) {
    case 'overloaded_error':
      return 'overloaded';
    case 'rate_limit_error':
      return 'rate-limited';
    default:
      return 'other';
  }
}

function typeOf(data: Buffer): unknown {
  const cursor = new JsonCursor(data);
  if (!cursor.enterObject()) return null;
  for (let key = cursor.nextKey(); key !== null; key = cursor.nextKey()) {
    const value = cursor.skipValue();
    if (value === null) return null;
    if (key === 'type') return parseJson(value.toString());
  }
  return null;
}

/** Characters of the text that a delta adds; an escape is one of them. */
function countText(data: Buffer): number {
  let characters = 0;
  eachText(data, TEXT_KEYS, (start, end) => {
    for (let at = start; at < end; at++) {
      const byte = data[at] ?? 0;
      // Bytes that continue a character in UTF-8 add none.
      if ((byte & 0xc0) === 0x80) continue;
      characters++;
      if (byte === 0x5c) at += data[at + 1] === 0x75 ? 5 : 1;
    }
  });
  return characters;
}

import type { StreamFailure, TokenUsage, UsageReader } from '../dialect.js';
import { JsonBody } from '../json-body.js';
import { JsonCursor, member, parseJson } from '../json.js';
import { CHARACTERS_PER_TOKEN, countCharacters, tokenCount as count } from '../token-counts.js';
import { isEventStream, SseSplitter } from '../sse.js';

/**
 * Where generated text stands in a `content_block_delta`. A signature is none, nor is a citation.
 */
const TEXT_KEYS = ['text', 'partial_json', 'thinking'];

/**
 * Steps of one request that the usage lists in `iterations` without adding them to its own figures:
 * the summary of a compaction and the advice of an advisor model. The limits count them.
 */
const UNCOUNTED_ITERATIONS = new Set<unknown>(['compaction', 'advisor_message']);
const MAX_ITERATIONS = 1000;

const STATUS_OF: ReadonlyMap<unknown, number> = new Map([
  ['overloaded_error', 529],
  ['rate_limit_error', 429],
  ['billing_error', 402],
]);

/** For `text/event-stream` the stream's own reader, for all else that of a JSON body. */
export function openUsageReader(contentType: string): UsageReader {
  return isEventStream(contentType) ? new StreamReader() : new BodyReader();
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
  /** Until an event says something new: most chunks hold text only. */
  #known: TokenUsage | null = null;

  push(chunk: Buffer): TokenUsage {
    this.#splitter.push(chunk);
    return (this.#known ??= this.#usage());
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
    const kind = name === '' ? typeOf(data) : name;
    if (kind === 'content_block_delta') {
      this.#characters += countCharacters(data, TEXT_KEYS);
      return;
    }
    this.#known = null;
    switch (kind) {
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
        this.#failure = failureOf(data.toString());
        break;
    }
  }
}

/** Usage of a body that is one JSON object. */
class BodyReader implements UsageReader {
  readonly #tally = new Tally();
  readonly #body = new JsonBody();

  push(chunk: Buffer): TokenUsage {
    this.#body.push(chunk);
    return NOTHING_YET;
  }

  end(): TokenUsage {
    const whole = this.#body.read(['usage'], (_key, value) => {
      this.#tally.add(parseJson(value.toString()));
    });
    return this.#tally.usage(0, whole, null);
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
  #uncounted = { input: 0, cacheRead: 0, output: 0 };

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
    const input = this.#input;
    return {
      inputTokens: input === null ? null : input + this.#cacheWrite + this.#uncounted.input,
      cachedTokens: this.#cacheRead + this.#uncounted.cacheRead,
      outputTokens: this.#output === null ? null : this.#output + this.#uncounted.output,
      relayedOutputTokens: relayed,
      complete: ended && input !== null && this.#output !== null,
      failure,
    };
  }

  #addIterations(iterations: readonly unknown[]): void {
    const sum = { input: 0, cacheRead: 0, output: 0 };
    for (const iteration of iterations.slice(0, MAX_ITERATIONS)) {
      if (!UNCOUNTED_ITERATIONS.has(member(iteration, 'type'))) continue;
      sum.input += (count(member(iteration, 'input_tokens')) ?? 0) + cacheWrites(iteration);
      sum.cacheRead += count(member(iteration, 'cache_read_input_tokens')) ?? 0;
      sum.output += count(member(iteration, 'output_tokens')) ?? 0;
    }
    this.#uncounted = sum;
  }
}

const NOTHING_YET = new Tally().usage(0, false, null);

function cacheWrites(usage: unknown): number {
  const total = count(member(usage, 'cache_creation_input_tokens'));
  if (total !== null) return total;
  const parts = member(usage, 'cache_creation');
  return (
    (count(member(parts, 'ephemeral_5m_input_tokens')) ?? 0) +
    (count(member(parts, 'ephemeral_1h_input_tokens')) ?? 0)
  );
}

/** By the kinds of error that come with a status of their own (wire facts §1.4). */
function failureOf(body: string): StreamFailure {
  const type = member(member(parseJson(body), 'error'), 'type');
  return { status: STATUS_OF.get(type) ?? 0, body };
}

const TYPE = ['type'];

function typeOf(data: Buffer): unknown {
  const cursor = new JsonCursor(data);
  if (!cursor.enterObject()) return null;
  const value = cursor.nextOf(TYPE) === null ? null : cursor.skipValue();
  return value === null ? null : parseJson(value.toString());
}

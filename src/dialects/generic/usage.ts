import type { TokenUsage, UsageReader } from '../dialect.js';
import { parseJson } from '../json.js';
import { tokenCount } from '../spoken.js';
import { isEventStream, SseSplitter } from '../sse.js';
import { valueAt, type JsonPath } from './json-path.js';

/** Where an API states what a request cost; null: it does not, or not apart. */
export interface UsagePaths {
  readonly inputTokens: JsonPath | null;
  readonly outputTokens: JsonPath | null;
}

/** A larger body is not read, and the estimate stands. */
const MAX_BODY_BYTES = 4_194_304;
const MAX_EVENT_BYTES = 1_048_576;
const NOTHING: Buffer = Buffer.alloc(0);

/** Reads the figures out of a JSON body, or out of those data of an event stream that are JSON. */
export function openUsageReader(contentType: string, paths: UsagePaths): UsageReader {
  const figures = new Figures(paths);
  if (!figures.wanted) return { push: () => figures.usage(), end: () => figures.usage() };
  return isEventStream(contentType) ? new StreamReader(figures) : new BodyReader(figures);
}

class StreamReader implements UsageReader {
  readonly #splitter: SseSplitter;
  readonly #figures: Figures;

  constructor(figures: Figures) {
    this.#figures = figures;
    this.#splitter = new SseSplitter((_name, data) => figures.take(data), MAX_EVENT_BYTES);
  }

  push(chunk: Buffer): TokenUsage {
    this.#splitter.push(chunk);
    return this.#figures.usage();
  }

  end(): TokenUsage {
    this.#splitter.end();
    return this.#figures.usage();
  }
}

class BodyReader implements UsageReader {
  readonly #figures: Figures;
  /** Has room for more: an object for each small chunk would take many times its size. */
  #body = NOTHING;
  #bytes = 0;

  constructor(figures: Figures) {
    this.#figures = figures;
  }

  push(chunk: Buffer): TokenUsage {
    const start = this.#bytes;
    this.#bytes += chunk.length;
    if (this.#bytes > MAX_BODY_BYTES) this.#body = NOTHING;
    else this.#keep(chunk, start);
    return this.#figures.usage();
  }

  end(): TokenUsage {
    if (this.#bytes <= MAX_BODY_BYTES) this.#figures.take(this.#body.subarray(0, this.#bytes));
    this.#body = NOTHING;
    return this.#figures.usage();
  }

  /** A copy, for the chunk is the caller's again afterwards. */
  #keep(chunk: Buffer, start: number): void {
    if (this.#bytes > this.#body.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.#bytes, 2 * this.#body.length));
      this.#body.copy(larger);
      this.#body = larger;
    }
    chunk.copy(this.#body, start);
  }
}

/**
 * The newest figure found under each path. Unknown is never zero: a path that finds nothing leaves
 * its figure open, and only a figure that the operator gave no path for counts nothing.
 */
class Figures {
  readonly #paths: UsagePaths;
  readonly #marks: readonly string[];
  #input: number | null;
  #output: number | null;

  constructor(paths: UsagePaths) {
    this.#paths = paths;
    const { inputTokens, outputTokens } = paths;
    this.#marks = [inputTokens, outputTokens].flatMap((path) => {
      const name = path?.findLast((step) => typeof step === 'string');
      return name === undefined ? [] : [`"${name}"`];
    });
    this.#input = inputTokens === null && outputTokens !== null ? 0 : null;
    this.#output = outputTokens === null && inputTokens !== null ? 0 : null;
  }

  get wanted(): boolean {
    return this.#paths.inputTokens !== null || this.#paths.outputTokens !== null;
  }

  take(bytes: Buffer): void {
    // Most events of a stream state nothing, and need not be parsed for that.
    if (this.#marks.length > 0 && !this.#marks.some((mark) => bytes.includes(mark))) return;
    const document = parseJson(bytes.toString());
    this.#input = this.#read(document, this.#paths.inputTokens) ?? this.#input;
    this.#output = this.#read(document, this.#paths.outputTokens) ?? this.#output;
  }

  #read(document: unknown, path: JsonPath | null): number | null {
    return path === null ? null : tokenCount(valueAt(document, path));
  }

  usage(): TokenUsage {
    return {
      inputTokens: this.#input,
      cachedTokens: 0,
      outputTokens: this.#output,
      relayedOutputTokens: 0,
      complete: this.#input !== null && this.#output !== null,
      failure: null,
    };
  }
}

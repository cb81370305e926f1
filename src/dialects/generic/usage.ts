import type { TokenUsage, UsageReader } from '../dialect.js';
import { parseJson } from '../json.js';
import { KeptBytes } from '../kept-bytes.js';
import { tokenCount } from '../token-counts.js';
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
  /** Null: it is too large. */
  #body: KeptBytes | null = new KeptBytes(MAX_BODY_BYTES);

  constructor(figures: Figures) {
    this.#figures = figures;
  }

  push(chunk: Buffer): TokenUsage {
    if (this.#body?.append(chunk, 0, chunk.length) === false) this.#body = null;
    return this.#figures.usage();
  }

  end(): TokenUsage {
    if (this.#body !== null) this.#figures.take(this.#body.take());
    this.#body = null;
    return this.#figures.usage();
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

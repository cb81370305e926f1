import type { StreamFailure, TokenUsage, UsageReader } from '../dialect.js';
import { JsonBody } from '../json-body.js';
import { JsonCursor, member, parseJson, writeJson } from '../json.js';
import { CHARACTERS_PER_TOKEN, countCharacters, tokenCount } from '../token-counts.js';
import { isEventStream, SseSplitter } from '../sse.js';
import { SPENT } from './refusal.js';

/** Whether a provider's limits count the part of a prompt that came from the cache. */
export type CachedInput = 'counted' | 'free';

/**
 * The last event of a Responses stream holds the usage and, with it, all that was said, and the
 * instructions and tools once more.
 */
const MAX_EVENT_BYTES = 1_048_576;

/**
 * Where generated text stands in a chunk's `choices`. Providers that show what a model thinks call
 * it `reasoning_content` or `reasoning`.
 */
const CHOICE_KEYS = [
  'content',
  'reasoning_content',
  'reasoning',
  'refusal',
  'arguments',
  'input',
  'text',
];

const EVENT_KEYS = ['type', 'choices', 'delta', 'usage', 'x_groq', 'response', 'error'];
const RESPONSE_KEYS = ['usage', 'error', 'status'];
const ENDED = new Set<unknown>(['completed', 'incomplete', 'failed', 'cancelled']);
const RATE_LIMITED = new Set([
  'rate_limit_exceeded',
  'rate_limit_error',
  'rate_limited',
  'too_many_requests',
  'resource_exhausted',
  'usage_limit_reached',
  'tokens',
  'requests',
  '429',
]);
const OVERLOADED = new Set([
  'overloaded',
  'overloaded_error',
  'server_is_overloaded',
  'engine_overloaded',
  'service_unavailable',
  'slow_down',
  'unavailable',
  '503',
  '529',
]);

/** For `text/event-stream` the stream's own reader, for all else that of a JSON body. */
export function openUsageReader(contentType: string, cachedInput: CachedInput): UsageReader {
  const tally = new Tally(cachedInput);
  return isEventStream(contentType) ? new StreamReader(tally) : new BodyReader(tally);
}

/**
 * Usage of a stream, of Chat Completions or Responses: each event is told by what it holds, for a
 * chunk of Chat Completions has no name and gateways leave those of Responses out. One walk over an
 * event's outermost keys; nothing is parsed but the usage, an error and words of some bytes.
 */
class StreamReader implements UsageReader {
  readonly #splitter = new SseSplitter((name, data) => this.#onEvent(name, data), MAX_EVENT_BYTES);
  readonly #tally: Tally;
  #characters = 0;
  #ended = false;
  #failure: StreamFailure | null = null;

  constructor(tally: Tally) {
    this.#tally = tally;
  }

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
    return this.#tally.usage(relayed, this.#ended, this.#failure);
  }

  #onEvent(name: string, data: Buffer): void {
    if (isDone(data)) {
      this.#ended = true;
      return;
    }
    const cursor = new JsonCursor(data);
    if (!cursor.enterObject()) return;
    let type = name;
    let noChoices = false;
    for (let key = cursor.nextOf(EVENT_KEYS); key !== null; key = cursor.nextOf(EVENT_KEYS)) {
      const value = cursor.skipValue();
      if (value === null) break;
      switch (key) {
        case 'type':
          type = shortText(value);
          break;
        case 'choices':
          noChoices = isEmptyArray(value);
          this.#characters += countCharacters(value, CHOICE_KEYS);
          break;
        case 'delta':
          // What is heard is no text: its bytes are many times its tokens.
          if (!type.includes('audio')) this.#characters += countCharacters(value, []);
          break;
        case 'usage':
          // Some servers end without `[DONE]`; nothing follows the usage that stands alone.
          if (this.#tally.add(value) && noChoices) this.#ended = true;
          break;
        case 'x_groq':
          this.#tally.addParsed(member(parseJson(value.toString()), 'usage'));
          break;
        case 'response':
          this.#onResponse(value);
          break;
        case 'error':
          this.#fail(parseJson(value.toString()));
          break;
      }
    }
    // An error of Responses may lie in the event itself.
    if (name === 'error' || type === 'error') this.#fail(parseJson(data.toString()));
  }

  /** The whole answer as far as it got, in the first events and in the last. */
  #onResponse(response: Buffer): void {
    const cursor = new JsonCursor(response);
    if (!cursor.enterObject()) return;
    const next = () => cursor.nextOf(RESPONSE_KEYS);
    for (let key = next(); key !== null; key = next()) {
      const value = cursor.skipValue();
      if (value === null) return;
      if (key === 'usage') this.#tally.add(value);
      else if (key === 'error') this.#fail(parseJson(value.toString()));
      else if (ENDED.has(shortText(value))) this.#ended = true;
    }
  }

  #fail(error: unknown): void {
    if (typeof error === 'object' && error !== null) this.#failure = failureOf(error);
  }
}

class BodyReader implements UsageReader {
  readonly #tally: Tally;
  readonly #body = new JsonBody();

  constructor(tally: Tally) {
    this.#tally = tally;
  }

  push(chunk: Buffer): TokenUsage {
    this.#body.push(chunk);
    return this.#tally.usage(0, false, null);
  }

  end(): TokenUsage {
    let failure: StreamFailure | null = null;
    const whole = this.#body.read(['usage', 'error'], (key, value) => {
      if (key === 'usage') this.#tally.add(value);
      // Gateways answer 200 before they know that the provider behind them fails.
      else failure = bodyFailure(parseJson(value.toString()));
    });
    return this.#tally.usage(0, whole, failure);
  }
}

/**
 * The figures stated so far (wire facts §3.1): `prompt_tokens` and `completion_tokens` of Chat
 * Completions, `input_tokens` and `output_tokens` of Responses, `prompt_tokens` alone of
 * Embeddings. Tokens that went into thinking are part of the output; providers that leave them out
 * there (Gemini's OpenAI endpoint) count them in the total all the same.
 */
class Tally {
  readonly #cachedInput: CachedInput;
  #prompt: number | null = null;
  #cached = 0;
  #output: number | null = null;

  constructor(cachedInput: CachedInput) {
    this.#cachedInput = cachedInput;
  }

  /** True if the raw value is a usage and not `null`. */
  add(value: Buffer): boolean {
    return value[0] === 0x7b && this.addParsed(parseJson(value.toString()));
  }

  addParsed(usage: unknown): boolean {
    const prompt = first(usage, 'prompt_tokens', 'input_tokens');
    const stated = first(usage, 'completion_tokens', 'output_tokens');
    const total = tokenCount(member(usage, 'total_tokens'));
    const details =
      member(usage, 'prompt_tokens_details') ?? member(usage, 'input_tokens_details') ?? null;
    if (prompt !== null) this.#prompt = Math.max(this.#prompt ?? 0, prompt);
    this.#cached = Math.max(this.#cached, tokenCount(member(details, 'cached_tokens')) ?? 0);
    const rest = total === null || prompt === null ? null : Math.max(0, total - prompt);
    if (stated !== null || rest !== null) this.#output = Math.max(stated ?? 0, rest ?? 0);
    return prompt !== null || stated !== null;
  }

  usage(relayed: number, ended: boolean, failure: StreamFailure | null): TokenUsage {
    const prompt = this.#prompt;
    const free = this.#cachedInput === 'free' ? Math.min(prompt ?? 0, this.#cached) : 0;
    return {
      inputTokens: prompt === null ? null : prompt - free,
      cachedTokens: free,
      outputTokens: this.#output,
      relayedOutputTokens: relayed,
      complete: ended && prompt !== null && this.#output !== null,
      failure,
    };
  }
}

function first(usage: unknown, ...names: readonly string[]): number | null {
  for (const name of names) {
    const count = tokenCount(member(usage, name));
    if (count !== null) return count;
  }
  return null;
}

function bodyFailure(error: unknown): StreamFailure | null {
  return typeof error === 'object' && error !== null ? failureOf(error) : null;
}

/** By `code`, which may be a status, or `type`; or both one level down (wire facts §3.1, §3.2). */
function failureOf(error: object): StreamFailure {
  for (const from of [error, member(error, 'error')]) {
    for (const word of [member(from, 'code'), member(from, 'type')]) {
      const status = statusOf(word);
      if (status !== 0) return { status, body: writeJson({ error: from }) };
    }
  }
  return { status: 0, body: '' };
}

function statusOf(stated: unknown): number {
  if (typeof stated !== 'string' && typeof stated !== 'number') return 0;
  const word = String(stated).toLowerCase();
  if (RATE_LIMITED.has(word) || SPENT.has(word)) return 429;
  if (OVERLOADED.has(word)) return 503;
  return word === '402' ? 402 : 0;
}

function isDone(data: Buffer): boolean {
  return data.length < 16 && data.toString('latin1').trim() === '[DONE]';
}

export function isEmptyArray(value: Buffer): boolean {
  return value[0] === 0x5b && value.length < 64 && /^\[\s*\]$/.test(value.toString('latin1'));
}

/** Empty if the value is no string of a few characters. */
function shortText(value: Buffer): string {
  const parsed = value.length < 100 ? parseJson(value.toString()) : null;
  return typeof parsed === 'string' ? parsed : '';
}

import type { Dialect, StreamFailure, TokenUsage, UsageReader } from '../dialects/dialect.js';
import type { Settlement } from '../governor/settlement.js';
import { openBodyDecoder, type BodyDecoder } from './body-decoder.js';

/** Told once each, as soon as the answer tells. */
export interface MeterListener {
  /** The real input is known while the answer still streams. */
  onInput(inputTokens: number): void;
  /** The answer failed after its status said 200. */
  onFailure(failure: StreamFailure): void;
  /** The decoder has caught up after `push` asked for a pause. */
  onDrained(): void;
}

/** Reads the usage of one successful answer off the bytes as they pass by; never holds or changes them. */
export class Meter {
  readonly #reader: UsageReader;
  /** Null: there is nothing to decode. */
  readonly #decoder: BodyDecoder | null;
  readonly #listener: MeterListener;
  #toldInput = false;
  #toldFailure = false;

  constructor(
    dialect: Dialect,
    target: string,
    contentType: string | undefined,
    contentEncoding: string | undefined,
    listener: MeterListener,
  ) {
    this.#listener = listener;
    this.#reader = dialect.openUsageReader(contentType ?? '', target);
    this.#decoder = openBodyDecoder(
      contentEncoding,
      (chunk) => this.#take(this.#reader.push(chunk)),
      () => listener.onDrained(),
    );
  }

  /** False asks for a pause until `onDrained`. */
  push(chunk: Buffer): boolean {
    if (this.#decoder !== null) return this.#decoder.write(chunk);
    this.#take(this.#reader.push(chunk));
    return true;
  }

  /** The answer ended, whole or not. How it is to be settled, at once where nothing has to be decoded. */
  end(whole: boolean): Settlement | Promise<Settlement> {
    if (this.#decoder === null) return this.#settlement(whole);
    return this.#decoder.end().then(() => this.#settlement(whole));
  }

  #settlement(whole: boolean): Settlement {
    const usage = this.#reader.end();
    // The settlement says what it cost, and comes at once.
    this.#toldInput = true;
    this.#take(usage);
    // Of what could not be decoded nobody knows what it cost: what was stated before is only the least.
    const seen = this.#decoder?.decodable ?? true;
    return {
      kind: 'success',
      whole: whole && usage.failure === null,
      complete: whole && seen && usage.complete,
      inputTokens: usage.inputTokens,
      cachedTokens: usage.cachedTokens,
      outputTokens: seen ? usage.outputTokens : null,
      relayedOutputTokens: seen ? usage.relayedOutputTokens : leastOutput(usage),
    };
  }

  #take(usage: TokenUsage): void {
    if (!this.#toldInput && usage.inputTokens !== null) {
      this.#toldInput = true;
      this.#listener.onInput(usage.inputTokens);
    }
    if (!this.#toldFailure && usage.failure !== null) {
      this.#toldFailure = true;
      this.#listener.onFailure(usage.failure);
    }
  }
}

function leastOutput({ outputTokens, relayedOutputTokens }: TokenUsage): number {
  return Math.max(outputTokens ?? 0, relayedOutputTokens);
}

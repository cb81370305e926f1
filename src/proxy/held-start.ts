import { withDeadline, type Timers } from '../platform/timers.js';
import { decodePrefix } from './body-decoder.js';

/** An answer is judged by this much of its body at most, or by what came within this time. */
const ENOUGH_BYTES = 65_536;
const ENOUGH_MS = 250;

/** The start of an answer's body, held back while the answer is judged. */
export class HeldStart {
  readonly chunks: Buffer[] = [];
  #bytes = 0;
  #suffices: () => void = () => {};
  readonly #sufficient = new Promise<void>((resolve) => (this.#suffices = resolve));

  /** False: that is enough, and no more should come. */
  push(chunk: Buffer): boolean {
    this.chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes < ENOUGH_BYTES) return true;
    this.#suffices();
    return false;
  }

  /** The body is over. */
  end(): void {
    this.#suffices();
  }

  /** As text, once there is enough of it. */
  async read(timers: Timers, contentEncoding: string | undefined): Promise<string> {
    await withDeadline(timers, ENOUGH_MS, this.#sufficient, undefined);
    return decodePrefix(contentEncoding, Buffer.concat(this.chunks));
  }
}

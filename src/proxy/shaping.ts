import type { IncomingMessage } from 'node:http';
import type { Dialect, ShapedAnswer } from '../dialects/dialect.js';
import { headerFields } from '../dialects/header-fields.js';
import type { Log } from '../platform/log.js';
import type { HeldBody } from './held-bodies.js';

/** More than one upstream has; what others make of it is found out each time anew. */
const MOST_MODELS = 100;

export interface ShapingOptions {
  /** Name of the upstream. */
  readonly name: string;
  readonly dialect: Pick<Dialect, 'shapeRequest'>;
  readonly log: Pick<Log, 'warn'>;
}

/**
 * Makes requests to one upstream ask for their usage, and knows which models take that: by model, for
 * a gateway has servers of many kinds behind it. Nothing but a success is believed, since a refusal
 * may only repeat what is wrong with its request.
 */
export class Shaping {
  readonly #options: ShapingOptions;
  readonly #taking = new Set<string>();
  readonly #refusing = new Set<string>();
  /** In their order. */
  readonly #doubted = new Set<string>();

  constructor(options: ShapingOptions) {
    this.#options = options;
  }

  /** Changes what is held; null where it is forwarded as it came. */
  shape(
    { headers }: Pick<IncomingMessage, 'headers'>,
    held: Pick<HeldBody, 'bytes' | 'replace'>,
    path: string,
    model: string,
  ): ShapedAnswer | null {
    const { dialect } = this.#options;
    if (dialect.shapeRequest === undefined || this.#refusing.has(model)) return null;
    const shaped = dialect.shapeRequest(path, headerFields(headers), held.bytes);
    if (shaped === null || this.#doubted.delete(model)) return null;
    // The body's only place is in `held`, which lets go of it.
    const { body, ...answer } = shaped;
    held.replace(body);
    return answer;
  }

  /**
   * A shaped request was refused, and could not be sent as it came. The next one for the model goes
   * as it comes, once, whatever the model has taken before: where one request at a time is let
   * through, none would ever get there.
   */
  doubted(model: string): void {
    this.#doubted.delete(model);
    this.#doubted.add(model);
    const [oldest = model] = this.#doubted;
    if (this.#doubted.size > MOST_MODELS) this.#doubted.delete(oldest);
  }

  /** A shaped request succeeded: so the model can, whatever it has refused and will refuse. */
  taken(model: string): void {
    this.#refusing.delete(model);
    this.#doubted.delete(model);
    if (this.#taking.size < MOST_MODELS) this.#taking.add(model);
  }

  /** A shaped request was refused, and succeeded as it came: from now on the model is left alone. */
  refused(model: string, requestId: string): void {
    this.#doubted.delete(model);
    if (this.#taking.has(model) || this.#refusing.has(model)) return;
    if (this.#refusing.size >= MOST_MODELS) return;
    this.#refusing.add(model);
    const { name, log } = this.#options;
    log.warn(
      'the upstream refuses stream_options: this model is not asked for usage any more until a restart; streamUsage: leave says so for good',
      { upstream: name, model, requestId },
    );
  }
}

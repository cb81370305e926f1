import type { IncomingMessage } from 'node:http';
import { SYSTEM_TIME } from '../platform/clock.js';
import { afterTurn, SYSTEM_TIMERS } from '../platform/timers.js';
import { BodyPieces } from './body-pieces.js';

/** Largest body of a metered request: that of the Messages API (wire facts §2). */
const LARGEST_BYTES = 32 * 1024 * 1024;
/** All held bodies together. */
const MOST_BYTES = 256 * 1024 * 1024;
/** A client that sends nothing for this long is given up. */
export const IDLE_MS = 60_000;
/** A body that is not whole by then is given up: a byte a minute would hold its room for ever. */
const WHOLE_MS = 600_000;
/** From this size on a body is let go as soon as it is sent, for its answer may last for many minutes. */
const LARGE_BYTES = 16_384;
const NOTHING = Buffer.alloc(0);

export interface HeldBodiesBounds {
  readonly largestBytes?: number;
  readonly mostBytes?: number;
  readonly idleMs?: number;
  readonly wholeMs?: number;
}

export type HoldOutcome =
  | { readonly kind: 'held'; readonly body: HeldBody }
  | { readonly kind: 'too-large'; readonly limitBytes: number }
  /** There is no room for it now. */
  | { readonly kind: 'no-room' }
  /** The client went away, fell silent, or took too long. */
  | { readonly kind: 'incomplete' };

/** A body that is whole, and takes room until it is sent. */
export class HeldBody {
  /** When it was ready for a decision, by the monotonic clock, in ms. */
  heldAt = SYSTEM_TIME.monotonic();
  #mayBeSentAgain = false;
  #handedOver = false;

  constructor(
    /** As the client sent them, or as they are forwarded. */
    public bytes: Buffer,
    private readonly room: Room,
  ) {}

  /** For whoever sends it; undefined where that is known from `outgoing` itself. */
  get lengthToState(): string | undefined {
    return this.#isLarge ? String(this.bytes.length) : undefined;
  }

  /** For undici, which keeps what it is given until the answer is over: of a large body only the way to it. */
  outgoing(): Buffer | Iterable<Buffer> {
    return this.#isLarge ? this.#handOver() : this.bytes;
  }

  /** These are sent in their place, and stay until the upstream's answer shows that they need not be sent again. */
  replace(bytes: Buffer): void {
    this.bytes = bytes;
    this.#mayBeSentAgain = true;
  }

  /** The upstream's answer was none: another decision is to be made, about these. */
  restart(bytes: Buffer): void {
    this.bytes = bytes;
    this.#mayBeSentAgain = false;
    this.#handedOver = false;
    this.heldAt = SYSTEM_TIME.monotonic();
  }

  /** The upstream answers: what was handed over is in no place of ours any more. */
  sent(): void {
    if (this.#handedOver) this.bytes = NOTHING;
    if (this.bytes.length === 0) this.release();
  }

  /** Gives the room back. A second call changes nothing. */
  release(): void {
    this.room.release();
  }

  get #isLarge(): boolean {
    return this.bytes.length >= LARGE_BYTES;
  }

  *#handOver(): Iterable<Buffer> {
    const { bytes } = this;
    this.#handedOver = true;
    if (!this.#mayBeSentAgain) this.bytes = NOTHING;
    yield bytes;
  }
}

/** What one body has taken of the room for all. */
interface Room {
  growTo(bytes: number): void;
  /** What was taken beyond this is free again. */
  shrinkTo(bytes: number): void;
  release(): void;
}

/**
 * Bodies of metered requests are read whole before the call: the estimate needs them, and a body that
 * breaks off must not have been charged. Bounded for each and for all together.
 */
export class HeldBodies {
  readonly #largestBytes: number;
  readonly #mostBytes: number;
  readonly #idleMs: number;
  readonly #wholeMs: number;
  #held = 0;

  constructor(bounds: HeldBodiesBounds = {}) {
    this.#largestBytes = bounds.largestBytes ?? LARGEST_BYTES;
    this.#mostBytes = bounds.mostBytes ?? MOST_BYTES;
    this.#idleMs = bounds.idleMs ?? IDLE_MS;
    this.#wholeMs = bounds.wholeMs ?? WHOLE_MS;
  }

  get heldBytes(): number {
    return this.#held;
  }

  /** `invite` is called before the first byte is awaited, unless the stated length is refused. */
  hold(request: IncomingMessage, invite: () => void = () => {}): Promise<HoldOutcome> {
    const stated = Number(request.headers['content-length'] ?? 0);
    if (stated > this.#largestBytes) return Promise.resolve(this.#tooLarge());
    if (this.#held + stated > this.#mostBytes) return Promise.resolve({ kind: 'no-room' });
    // Room for a stated length is taken at once: many uploads must not each find it free.
    const room = this.#roomOf(stated);
    invite();
    return new Promise((resolve) => {
      const finish = (outcome: HoldOutcome) => {
        if (outcome.kind !== 'held') room.release();
        resolve(outcome);
      };
      // A small body comes with its headers, and is here by the end of this turn.
      afterTurn(() => {
        if (request.destroyed) finish({ kind: 'incomplete' });
        else if (request.complete) finish(this.#take(request, room));
        else this.#read(request, room, finish);
      });
    });
  }

  /** The body is here. */
  #take(request: IncomingMessage, room: Room): HoldOutcome {
    const bytes = (request.read() as Buffer | null) ?? NOTHING;
    return this.#objectionTo(bytes.length, bytes.length, room) ?? heldBody(bytes, room);
  }

  #read(request: IncomingMessage, room: Room, resolve: (outcome: HoldOutcome) => void): void {
    const pieces = new BodyPieces();
    const finish = (outcome: HoldOutcome) => {
      request.off('data', onData).off('end', onEnd).off('timeout', onBroken);
      request.off('close', onBroken).off('error', onBroken);
      request.setTimeout(0);
      cancel();
      resolve(outcome);
    };
    const onData = (piece: Buffer) => {
      pieces.push(piece);
      const objection = this.#objectionTo(pieces.received, pieces.held, room);
      if (objection !== null) finish(objection);
    };
    const onEnd = () => {
      const bytes = pieces.whole();
      room.shrinkTo(bytes.length);
      finish(heldBody(bytes, room));
    };
    const onBroken = () => finish({ kind: 'incomplete' });
    const cancel = SYSTEM_TIMERS.after(this.#wholeMs, onBroken);
    request.on('data', onData).on('end', onEnd);
    request.on('close', onBroken).on('error', onBroken).setTimeout(this.#idleMs, onBroken);
  }

  /** Takes the room that the bytes received need; null if they may stay. */
  #objectionTo(received: number, held: number, room: Room): HoldOutcome | null {
    if (received > this.#largestBytes) return this.#tooLarge();
    room.growTo(held);
    return this.#held > this.#mostBytes ? { kind: 'no-room' } : null;
  }

  #roomOf(stated: number): Room {
    let reserved = stated;
    this.#held += reserved;
    return {
      growTo: (bytes) => {
        if (bytes <= reserved) return;
        this.#held += bytes - reserved;
        reserved = bytes;
      },
      shrinkTo: (bytes) => {
        this.#held -= Math.max(reserved - bytes, 0);
        reserved = Math.min(reserved, bytes);
      },
      release: () => {
        this.#held -= reserved;
        reserved = 0;
      },
    };
  }

  #tooLarge(): HoldOutcome {
    return { kind: 'too-large', limitBytes: this.#largestBytes };
  }
}

function heldBody(bytes: Buffer, room: Room): HoldOutcome {
  return { kind: 'held', body: new HeldBody(bytes, room) };
}

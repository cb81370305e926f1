import type { Random } from '../platform/random.js';
import { openLedger, type Ledger } from './ledger.js';
import type { Recorder } from './recorder.js';
import type { VirtualTime } from './virtual-time.js';
import type { UpstreamWorld } from './world.js';

/** What the upstream makes of a request the moment it arrives. */
export type Reception =
  | { readonly kind: 'accepted' }
  | { readonly kind: 'overloaded' }
  /** `waitMs`: as its `retry-after` states it; null if it states none. */
  | { readonly kind: 'refused'; readonly transient: boolean; readonly waitMs: number | null };

/** What an upstream knows of its limit while it answers. */
export interface Standing {
  readonly limit: number;
  readonly used: number;
  /** Since the start of the run. */
  readonly resetAt: number;
}

/** Others' share of a window comes in this many requests. */
const OTHERS_REQUESTS = 20;
/** Their share of one window differs from the mean by up to this much of it. */
const OTHERS_SPREAD = 0.5;

/**
 * An upstream with a limit nobody is told. It refuses when what it has charged has reached the limit;
 * what it accepts it charges for: the input at once, the output while it is generated.
 */
export class SimulatedUpstream {
  readonly #world: UpstreamWorld;
  readonly #time: VirtualTime;
  readonly #random: Random;
  readonly #recorder: Recorder;
  readonly #ledger: Ledger;
  #limit: number;
  /** Output of all streams under way, in tokens a ms, charged up to `#flowedTo`. */
  #flow = 0;
  #flowedTo = 0;

  constructor(world: UpstreamWorld, time: VirtualTime, random: Random, recorder: Recorder) {
    this.#world = world;
    this.#time = time;
    this.#random = random;
    this.#recorder = recorder;
    this.#limit = world.limit;
    this.#ledger = openLedger(world.kind, world.windowMs, () => this.#limit);
    for (const { atMs, limit } of world.changes) {
      time.at(atMs, () => {
        this.#advance();
        this.#limit = limit;
        recorder.limitChanged(limit);
      });
    }
    if (world.kind !== 'fixed') this.#beginSlice();
  }

  get limit(): number {
    return this.#limit;
  }

  /** A request arrives. */
  receive(): Reception {
    this.#advance();
    const { transient429, overload, retryAfter } = this.#world;
    const { elapsed: now } = this.#time;
    const chance = this.#random();
    if (chance < transient429) {
      this.#recorder.refused();
      return { kind: 'refused', transient: true, waitMs: null };
    }
    if (chance < transient429 + overload) return { kind: 'overloaded' };
    if (this.#ledger.used(now) >= this.#limit) {
      this.#recorder.refused();
      const waitMs = this.#ledger.freeAt(this.#limit, now) - now;
      // Whole seconds, and a wait of none is none.
      const stated = Math.max(1, Math.ceil(waitMs / 1_000)) * 1_000;
      return { kind: 'refused', transient: false, waitMs: retryAfter ? stated : null };
    }
    if (this.#ledger.accept(now)) this.#open();
    this.#recorder.accepted();
    return { kind: 'accepted' };
  }

  charge(tokens: number): void {
    this.#advance();
    this.#chargeOurs(tokens);
  }

  /** Output begins, or ends, to flow at this rate in tokens a ms. */
  flow(change: number): void {
    this.#advance();
    this.#flow = Math.max(0, this.#flow + change);
  }

  standing(): Standing {
    this.#advance();
    const { elapsed: now } = this.#time;
    const used = this.#ledger.used(now);
    const full = now + (used / this.#limit) * this.#world.windowMs;
    return {
      limit: this.#limit,
      used,
      resetAt: this.#ledger.endsAt() ?? full,
    };
  }

  #advance(): void {
    const { elapsed: now } = this.#time;
    const tokens = this.#flow * (now - this.#flowedTo);
    this.#flowedTo = now;
    if (tokens > 0) this.#chargeOurs(tokens);
  }

  #chargeOurs(tokens: number): void {
    this.#ledger.charge(tokens, this.#time.elapsed);
    this.#recorder.charged(tokens);
  }

  /** A fixed window begins. */
  #open(): void {
    const { elapsed: now } = this.#time;
    this.#recorder.beginWindow(now, this.#limit);
    this.#time.at(now + this.#world.windowMs, () => {
      this.#advance();
      this.#recorder.endWindow();
    });
    this.#inviteOthers();
  }

  /** The other kinds have no windows of their own: they are watched a window's length at a time. */
  #beginSlice(): void {
    this.#recorder.beginWindow(this.#time.elapsed, this.#limit);
    this.#time.after(this.#world.windowMs, () => {
      this.#advance();
      this.#recorder.endWindow();
      this.#beginSlice();
    });
    this.#inviteOthers();
  }

  /** They take their share whatever we do: they come first. */
  #inviteOthers(): void {
    const { othersUse, windowMs } = this.#world;
    if (othersUse <= 0) return;
    const share = othersUse * (1 - OTHERS_SPREAD + 2 * OTHERS_SPREAD * this.#random());
    const tokens = (share * this.#limit) / OTHERS_REQUESTS;
    for (let request = 0; request < OTHERS_REQUESTS; request += 1) {
      this.#time.after(this.#random() * windowMs, () => {
        this.#ledger.charge(tokens, this.#time.elapsed);
        this.#recorder.othersCharged(tokens);
      });
    }
  }
}

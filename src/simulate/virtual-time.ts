import type { TimeSources } from '../platform/clock.js';
import type { Cancel, Timers } from '../platform/timers.js';

/** What a call may still be doing when it returns. */
type Call = () => void | Promise<void>;

interface Event {
  readonly at: number;
  readonly order: number;
  call: Call | null;
}

/** Any instant will do; this one makes instants that look like those of a real state. */
const EPOCH = 1_767_225_600_000;

/**
 * Time that jumps from one event to the next. `elapsed` is the truth, in ms since the start; the wall
 * clock is set by whoever steps it.
 */
export class VirtualTime implements TimeSources, Timers {
  elapsed = 0;
  #wallOffset = EPOCH;
  #order = 0;
  /** A binary heap: the children of `index` are at `2 * index + 1` and `2 * index + 2`. */
  readonly #heap: Event[] = [];

  wall(): number {
    return this.#wallOffset + this.elapsed;
  }

  monotonic(): number {
    return this.elapsed;
  }

  uptime(): number {
    return this.elapsed;
  }

  /** The wall clock as it would be had nobody touched it. */
  get trueWall(): number {
    return EPOCH + this.elapsed;
  }

  stepWall(stepMs: number): void {
    this.#wallOffset += stepMs;
  }

  after(delayMs: number, call: Call): Cancel {
    return this.at(this.elapsed + delayMs, call);
  }

  at(elapsedMs: number, call: Call): Cancel {
    const at = Math.max(this.elapsed, elapsedMs);
    const event: Event = { at, order: this.#order, call };
    this.#order += 1;
    this.#push(event);
    return () => {
      event.call = null;
    };
  }

  /** The next thing to do, with the time set to its instant; null when nothing is left to happen. */
  next(): Call | null {
    for (let event = this.#pop(); event !== undefined; event = this.#pop()) {
      if (event.call === null) continue;
      this.elapsed = event.at;
      return event.call;
    }
    return null;
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let index = heap.length;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent] as Event;
      if (!isBefore(event, above)) break;
      heap[index] = above;
      index = parent;
    }
    heap[index] = event;
  }

  #pop(): Event | undefined {
    const heap = this.#heap;
    const [first] = heap;
    const last = heap.pop();
    if (heap.length === 0 || last === undefined) return first;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Event, heap[child] as Event)) {
        child += 1;
      }
      if (!isBefore(heap[child] as Event, last)) break;
      heap[index] = heap[child] as Event;
      index = child;
    }
    heap[index] = last;
    return first;
  }
}

function isBefore(one: Event, other: Event): boolean {
  return one.at < other.at || (one.at === other.at && one.order < other.order);
}

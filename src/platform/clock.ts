import { uptime } from 'node:os';
import { performance } from 'node:perf_hooks';

/** A clock of epoch milliseconds that never goes back while the process runs. */
export interface Clock {
  now(): number;
}

/** Where a SteadyClock reads time. All in milliseconds; only `wall` has a calendar. */
export interface TimeSources {
  wall(): number;
  /** Since some fixed moment; stands still while the machine is suspended. */
  monotonic(): number;
  /** Since the machine booted; goes on while it is suspended. */
  uptime(): number;
}

export const SYSTEM_TIME: TimeSources = {
  wall: () => Date.now(),
  monotonic: () => performance.now(),
  uptime: () => uptime() * 1000,
};

/** A wall clock this far ahead of ours has stepped; less is drift. */
const STEP_MS = 2_000;
/** An upstream's `Date` header has whole seconds and travels: it confirms a step within this. */
const WITNESS_TOLERANCE_MS = 60_000;
/** A clock this far behind the last record is not trusted to continue it. */
export const BEHIND_MS = 3_600_000;

export interface ClockStart {
  readonly now: number;
  /** How far the wall clock lies behind the last recorded instant, if more than an hour; else 0. */
  readonly behindMs: number;
}

/**
 * Wall time for instants that outlive the process, advanced monotonically within it.
 *
 * - Start: max(wall, last recorded instant). A wall clock more than an hour behind the record is
 *   believed instead, and the caller is told, so that nothing stays frozen until the clock catches up.
 * - Running: the wall clock may step; ours does not follow a step back, ever, and follows one forward
 *   only once a second witness agrees: the machine's uptime (the step was a suspend) or the upstream's
 *   `Date` header. A step forward believed too soon would end windows and cooldowns early.
 */
export class SteadyClock implements Clock {
  readonly #sources: TimeSources;
  #wallAtAnchor: number;
  #monotonicAtAnchor: number;
  #uptimeAtAnchor: number;
  #follows = false;
  #correctedMs = 0;

  constructor(sources: TimeSources = SYSTEM_TIME) {
    this.#sources = sources;
    this.#wallAtAnchor = sources.wall();
    this.#monotonicAtAnchor = sources.monotonic();
    this.#uptimeAtAnchor = sources.uptime();
  }

  /** Continues a record: call once, with the last instant written, before the first decision. */
  continueFrom(recordedAt: number | null): ClockStart {
    const wall = this.#sources.wall();
    if (recordedAt === null || wall >= recordedAt) {
      this.#anchor(wall);
      return { now: wall, behindMs: 0 };
    }
    const behindMs = recordedAt - wall;
    const now = behindMs > BEHIND_MS ? wall : recordedAt;
    this.#anchor(now);
    return { now, behindMs: behindMs > BEHIND_MS ? behindMs : 0 };
  }

  /**
   * Goes by another clock from here on, that of a shared store, so that instances agree whatever
   * their machines say. Called with every reading of it; what a reading takes to arrive is no
   * difference.
   */
  follow(instant: number): void {
    this.#follows = true;
    if (Math.abs(instant - this.#steady()) >= STEP_MS) this.#anchor(instant);
  }

  now(): number {
    const steady = this.#steady();
    if (this.#follows) return steady;
    const wall = this.#sources.wall();
    if (wall - steady < STEP_MS) return steady;
    const suspended =
      this.#sources.uptime() -
      this.#uptimeAtAnchor -
      (this.#sources.monotonic() - this.#monotonicAtAnchor);
    if (suspended < wall - steady - STEP_MS) return steady;
    this.#anchor(wall);
    return Math.floor(wall);
  }

  /**
   * The upstream said what time it is, in a `Date` header (RFC 9110 §6.6.1). A wall clock that agrees
   * with it and is ahead of ours was right to step.
   */
  witness(dateHeader: string): void {
    const wall = this.#sources.wall();
    const ahead = wall - this.#steady();
    if (this.#follows || ahead < STEP_MS) return;
    const offMs = Math.abs(Date.parse(dateHeader) - wall);
    // Not a date is no witness.
    if (!(offMs <= Math.min(WITNESS_TOLERANCE_MS, ahead / 2))) return;
    this.#correctedMs += ahead;
    this.#anchor(wall);
  }

  /**
   * How far witnesses have set the clock forward since this was last asked, in ms: so much more than the time that
   * has passed.
   */
  takeCorrection(): number {
    const correctedMs = this.#correctedMs;
    this.#correctedMs = 0;
    return correctedMs;
  }

  #steady(): number {
    return Math.floor(this.#wallAtAnchor + this.#sources.monotonic() - this.#monotonicAtAnchor);
  }

  #anchor(wall: number): void {
    this.#wallAtAnchor = wall;
    this.#monotonicAtAnchor = this.#sources.monotonic();
    this.#uptimeAtAnchor = this.#sources.uptime();
  }
}

/** An instant as RFC 3339 text in UTC, for people. */
export function rfc3339(instant: number): string;
export function rfc3339(instant: number | null): string | null;
export function rfc3339(instant: number | null): string | null {
  return instant === null ? null : new Date(instant).toISOString();
}

/** The instant that an RFC 3339 text names; null if it is none. */
export function parseRfc3339(text: string): number | null {
  const shape = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/i;
  const instant = shape.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(instant) ? null : instant;
}

import {
  addPromise,
  type Amounts,
  NO_PROMISES,
  type Promised,
  type Promises,
} from '../budget/promised.js';
import type { Instant } from '../state/scope-state.js';
import type { AdmitOutcome } from './admit.js';

/** So many have a place; who is refused beyond them has none. */
const MOST_PLACES = 256;
/** No client is told to wait longer by default: above it they misbehave (wire facts §4.1). */
const LONGEST_TOLD_MS = 59_000;
/** And none waits longer, for it is told whole seconds. */
const LONGEST_WAIT_MS = LONGEST_TOLD_MS + 1_000;
/** What a client may be late: it was told whole seconds, and has a pause of its own to wait out. */
const GRACE_MS = 5_000;

interface Place {
  /** Tells the request from others when it comes back. */
  readonly key: string;
  readonly amounts: Amounts;
  /** When it was told to come back. */
  readonly dueAt: Instant;
  /** It is lost then. */
  readonly until: Instant;
}

export interface Before {
  readonly promises: Promises;
  /** Nobody is before it. */
  readonly isFirst: boolean;
  /** It has been refused, and has waited as long as it was told. */
  readonly isDue: boolean;
}

/**
 * Requests of this process that were refused for want of room in a bucket, in the order in which they were: what was
 * promised to whom (budget/promised.ts). Clients wait at home, and who does not come back loses its place a little after
 * it should have.
 *
 * Not durable: without it nothing passes that the budget would not let pass, and who comes back gets a new place.
 */
export class WaitingLine {
  /** Whose turn is on record (turns.ts). */
  shown: string | null = null;
  /** The first one first. */
  readonly #places = new Map<string, Place>();

  /** What is promised to those before the request; who has no place comes last. */
  before(key: string, now: Instant): Before {
    if (this.#places.size === 0) return NOBODY;
    const promises: Record<string, Promised> = {};
    let isFirst = true;
    for (const place of this.#places.values()) {
      if (!isKept(place, now)) {
        this.#places.delete(place.key);
        continue;
      }
      if (place.key === key) return { promises, isFirst, isDue: place.dueAt <= now };
      addPromise(promises, place.amounts, isFirst);
      isFirst = false;
    }
    return { promises, isFirst, isDue: false };
  }

  first(now: Instant): Place | null {
    for (const place of this.#places.values()) if (isKept(place, now)) return place;
    return null;
  }

  /** What became of the request: it passes, or has a place now. One that it had before it keeps. */
  note(key: string, outcome: AdmitOutcome): void {
    const place = this.#places.get(key);
    if (outcome.kind === 'admitted') {
      if (place !== undefined) this.#places.delete(key);
      return;
    }
    const { until, now } = outcome.denial;
    const amounts = outcome.kind === 'held' ? (place?.amounts ?? null) : outcome.wanted;
    if (amounts === null) return;
    if (place === undefined && this.#places.size >= MOST_PLACES) return;
    // Who is held back is not told anything else.
    const toldAt = Math.min(until, now + LONGEST_TOLD_MS);
    const dueAt = outcome.kind === 'held' ? (place?.dueAt ?? toldAt) : toldAt;
    const lostAt = Math.min(until, now + LONGEST_WAIT_MS) + GRACE_MS;
    this.#places.set(key, { key, amounts, dueAt, until: lostAt });
  }
}

/** After its time it is lost; and one further away than any was told is of another clock. */
export function isKept({ until }: { readonly until: Instant }, now: Instant): boolean {
  return until > now && until <= now + LONGEST_WAIT_MS + GRACE_MS;
}

const NOBODY: Before = { promises: NO_PROMISES, isFirst: true, isDue: false };

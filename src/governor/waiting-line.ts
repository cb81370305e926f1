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
const LONGEST_WAIT_MS = 60_000;
/** What a client may be late: it was told whole seconds, and has a pause of its own to wait out. */
const GRACE_MS = 5_000;

interface Place {
  /** Tells the request from others when it comes back. */
  readonly key: string;
  readonly amounts: Amounts;
  /** It is lost then. */
  readonly until: Instant;
}

export interface Before {
  readonly promises: Promises;
  /** Nobody is before it. */
  readonly isFirst: boolean;
}

/**
 * Requests of this process that were refused for want of room in a bucket, in the order in which they were: what was
 * promised to whom (budget/promised.ts). Nobody is held here, clients wait at home, and who does not come back loses
 * its place a little after it should have.
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
      if (place.key === key) break;
      addPromise(promises, place.amounts, isFirst);
      isFirst = false;
    }
    return { promises, isFirst };
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
    const lostAt = Math.min(until, now + LONGEST_WAIT_MS) + GRACE_MS;
    const amounts = outcome.kind === 'refused' ? outcome.wanted : (place?.amounts ?? null);
    if (amounts === null) return;
    if (place === undefined && this.#places.size >= MOST_PLACES) return;
    this.#places.set(key, { key, amounts, until: lostAt });
  }
}

/** After its time it is lost; and one further away than any was told is of another clock. */
export function isKept({ until }: { readonly until: Instant }, now: Instant): boolean {
  return until > now && until <= now + LONGEST_WAIT_MS + GRACE_MS;
}

const NOBODY: Before = { promises: NO_PROMISES, isFirst: true };

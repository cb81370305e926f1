import type { WindowKind } from '../budget/settings.js';

/** How an upstream counts what it has charged against its limit. Instants only ever rise. */
export interface Ledger {
  /** Charged and not yet free again. */
  used(now: number): number;
  charge(amount: number, now: number): void;
  /** The first request accepted since the last window ended; tells whether it opened one. */
  accept(now: number): boolean;
  /** When `used` will be below `limit` if nothing more is charged. */
  freeAt(limit: number, now: number): number;
  /** When the window under way ends; null for one that has no end of its own. */
  endsAt(): number | null;
}

export function openLedger(kind: WindowKind, windowMs: number, limit: () => number): Ledger {
  switch (kind) {
    case 'fixed':
      return new FixedLedger(windowMs);
    case 'sliding':
      return new SlidingLedger(windowMs);
    case 'bucket':
      return new BucketLedger(windowMs, limit);
  }
}

/** Begins with the first request accepted after the last one ended. */
class FixedLedger implements Ledger {
  #endsAt: number | null = null;
  #used = 0;

  constructor(private readonly windowMs: number) {}

  used(now: number): number {
    this.#roll(now);
    return this.#used;
  }

  charge(amount: number, now: number): void {
    this.#roll(now);
    // What runs on from an ended window is charged to none until the next one opens.
    if (this.#endsAt !== null) this.#used += amount;
  }

  accept(now: number): boolean {
    this.#roll(now);
    if (this.#endsAt !== null) return false;
    this.#endsAt = now + this.windowMs;
    return true;
  }

  freeAt(limit: number, now: number): number {
    this.#roll(now);
    return this.#used < limit ? now : (this.#endsAt ?? now);
  }

  endsAt(): number | null {
    return this.#endsAt;
  }

  #roll(now: number): void {
    if (this.#endsAt === null || now < this.#endsAt) return;
    this.#endsAt = null;
    this.#used = 0;
  }
}

/** Cells that a sliding window is counted in; one of them is what the count may be off by. */
const CELLS = 1_000;

/** Everything charged within the last window. */
class SlidingLedger implements Ledger {
  readonly #cellMs: number;
  /** Oldest first. */
  #cells: { readonly index: number; amount: number }[] = [];
  #first = 0;
  #used = 0;

  constructor(windowMs: number) {
    this.#cellMs = windowMs / CELLS;
  }

  used(now: number): number {
    const oldest = this.#indexAt(now) - CELLS;
    while (this.#first < this.#cells.length) {
      const cell = this.#cells[this.#first];
      if (cell === undefined || cell.index > oldest) break;
      this.#used -= cell.amount;
      this.#first += 1;
    }
    if (this.#first > CELLS) {
      this.#cells = this.#cells.slice(this.#first);
      this.#first = 0;
    }
    return this.#used;
  }

  charge(amount: number, now: number): void {
    const index = this.#indexAt(now);
    const last = this.#cells.at(-1);
    if (last?.index === index) last.amount += amount;
    else this.#cells.push({ index, amount });
    this.#used += amount;
  }

  accept(): boolean {
    return false;
  }

  freeAt(limit: number, now: number): number {
    let left = this.used(now);
    for (let at = this.#first; at < this.#cells.length && left >= limit; at += 1) {
      const cell = this.#cells[at];
      if (cell === undefined) break;
      left -= cell.amount;
      if (left < limit) return (cell.index + CELLS) * this.#cellMs;
    }
    return now;
  }

  endsAt(): null {
    return null;
  }

  #indexAt(now: number): number {
    return Math.floor(now / this.#cellMs);
  }
}

/** Drains continuously, a whole limit in the length of a window. */
class BucketLedger implements Ledger {
  #used = 0;
  #at = 0;

  constructor(
    private readonly windowMs: number,
    private readonly limit: () => number,
  ) {}

  used(now: number): number {
    this.#used = Math.max(0, this.#used - ((now - this.#at) * this.limit()) / this.windowMs);
    this.#at = now;
    return this.#used;
  }

  charge(amount: number, now: number): void {
    this.#used = this.used(now) + amount;
  }

  accept(): boolean {
    return false;
  }

  freeAt(limit: number, now: number): number {
    const over = this.used(now) - limit;
    return over < 0 ? now : now + (over / limit) * this.windowMs + 1;
  }

  endsAt(): null {
    return null;
  }
}

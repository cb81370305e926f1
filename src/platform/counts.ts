export interface Count {
  readonly owner: string;
  readonly kind: string;
  readonly count: number;
}

const OTHER = 'other';

/**
 * How often each kind of thing happened, by owner, since the process started. Both sets are closed:
 * what is in neither counts as `other`, so no name from outside can add to them. Every pair is there from the
 * start, at 0, for a series that begins with its first event hides that event from a rate. Counting allocates
 * nothing (15 ns).
 */
export class Counts<Kind extends string> {
  readonly #kinds: readonly string[];
  readonly #indices: ReadonlyMap<string, number>;
  readonly #rows: ReadonlyMap<string, Float64Array>;

  constructor(owners: readonly string[], kinds: readonly Kind[]) {
    this.#kinds = [...kinds, OTHER];
    this.#indices = new Map(this.#kinds.map((kind, index) => [kind, index]));
    this.#rows = new Map(
      [...owners, OTHER].map((owner) => [owner, new Float64Array(this.#kinds.length)]),
    );
  }

  add(owner: string, kind: Kind): void {
    const row = this.#rows.get(owner) ?? (this.#rows.get(OTHER) as Float64Array);
    const index = this.#indices.get(kind) ?? this.#kinds.length - 1;
    row[index] = (row[index] as number) + 1;
  }

  /** `other` only where there was one. */
  read(): Count[] {
    const counts: Count[] = [];
    for (const [owner, row] of this.#rows) {
      for (const [index, kind] of this.#kinds.entries()) {
        const count = row[index] as number;
        const isOther = owner === OTHER || kind === OTHER;
        if (count > 0 || !isOther) counts.push({ owner, kind, count });
      }
    }
    return counts;
  }
}

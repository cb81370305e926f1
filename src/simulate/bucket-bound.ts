/** What an upstream's token bucket took, and when it was last full for certain. */
export interface Counted {
  readonly at: number;
  readonly tokens: number;
}

/** What was charged longer ago, in window lengths, may have been charged to another limit. */
const REMEMBERED = 120;

/**
 * What a bucket grants in a window's length at least, to have taken what it took, as the budget's own measure
 * says (`measureBucket`), here with every request in a list: since any instant, what it took over one and the
 * lengths since; since a refusal at least a length ago, when it was full, over the lengths alone.
 */
export function bucketBound(
  counted: readonly Counted[],
  windowMs: number,
  fullAt: number | null,
  now: number,
): number {
  const fullFor = fullAt === null ? 0 : (now - fullAt) / windowMs;
  let charged = 0;
  let best = 0;
  for (let index = counted.length - 1; index >= 0; index -= 1) {
    const { at, tokens } = counted[index] as Counted;
    const lengths = (now - at) / windowMs;
    if (lengths > REMEMBERED || (fullFor >= 1 && lengths > fullFor)) break;
    charged += tokens;
    best = Math.max(best, charged / (1 + lengths));
  }
  return fullFor >= 1 && fullFor <= REMEMBERED ? Math.max(best, charged / fullFor) : best;
}

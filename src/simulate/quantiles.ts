/** A distribution by some of its quantiles, ascending in both. */
export type Quantiles = readonly (readonly [share: number, value: number])[];

/**
 * The value below which `share` (0 to 1) of a distribution lies: log-linear between the quantiles
 * given, and on along the first and last slope beyond them.
 */
export function quantile(quantiles: Quantiles, share: number): number {
  const [first, second = first] = quantiles;
  if (first === undefined || second === undefined) return 0;
  let [low, high] = [first, second];
  for (let index = 1; index < quantiles.length - 1 && share > high[0]; index += 1) {
    low = high;
    high = quantiles[index + 1] as (typeof quantiles)[number];
  }
  if (high[0] === low[0]) return low[1];
  const slope = Math.log(high[1] / low[1]) / (high[0] - low[0]);
  return low[1] * Math.exp(slope * (share - low[0]));
}

const STEPS = 10_000;

/** Mean of the distribution whose values are cut off at `most`. */
export function meanOf(quantiles: Quantiles, most: number): number {
  let sum = 0;
  for (let step = 0; step < STEPS; step += 1) {
    sum += Math.min(most, quantile(quantiles, (step + 0.5) / STEPS));
  }
  return sum / STEPS;
}

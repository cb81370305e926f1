import type { Random } from '../platform/random.js';

/**
 * A stream of chance that a seed repeats: mulberry32, 32 bits of state, ample for millions of draws.
 * Parts of a simulation that must not disturb one another take streams of their own by `purpose`: a
 * strategy that sends fewer requests then still meets the same demand.
 */
export function seededRandom(seed: number, purpose: string): Random {
  let state = hash(`${seed} ${purpose}`);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** FNV-1a, so that neighbouring seeds begin far apart. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) {
    value = Math.imul(value ^ text.charCodeAt(index), 0x01000193);
  }
  return value;
}

/** Between two events of a process that happen `meanMs` apart on average (Poisson). */
export function exponential(random: Random, meanMs: number): number {
  return -Math.log(1 - random()) * meanMs;
}

const LONGEST_COMPARED = 60;

/** The candidate that was most likely meant, or null if none is near. */
export function suggest(given: string, candidates: readonly string[]): string | null {
  const wanted = simplify(given);
  if (wanted === '') return null;
  let best: string | null = null;
  let bestDistance = Infinity;
  for (const candidate of candidates) {
    const distance = distanceTo(wanted, simplify(candidate));
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** ` Did you mean "window"?`, or nothing. */
export function didYouMean(given: string, candidates: readonly string[]): string {
  const near = suggest(given, candidates);
  return near === null ? '' : ` Did you mean ${JSON.stringify(near)}?`;
}

/** Compared without case and separators, so that `admin_listen` is `adminListen`. */
function simplify(name: string): string {
  return name
    .slice(0, LONGEST_COMPARED)
    .toLowerCase()
    .replace(/[^a-z0-9]/g, '');
}

/** Infinite where the two have too little in common to be the same word. */
function distanceTo(wanted: string, candidate: string): number {
  const longer = Math.max(wanted.length, candidate.length);
  const edits = editDistance(wanted, candidate);
  if (edits <= Math.max(1, Math.floor(longer / 3))) return edits;
  // One is a part of the other: `token` for `adminToken`, `listenAddress` for `listen`.
  const shorter = Math.min(wanted.length, candidate.length);
  const part = wanted.includes(candidate) || candidate.includes(wanted);
  return part && shorter >= 4 ? longer : Infinity;
}

/**
 * Insertions, deletions, substitutions and swaps of neighbours that turn one word into the other.
 */
function editDistance(from: string, to: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: to.length + 1 }, (_, column) => column);
  for (let row = 1; row <= from.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= to.length; column += 1) {
      const same = from[row - 1] === to[column - 1];
      const swapped =
        row > 1 && from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1];
      current.push(
        Math.min(
          at(last, column) + 1,
          at(current, column - 1) + 1,
          at(last, column - 1) + (same ? 0 : 1),
          swapped ? at(beforeLast, column - 2) + 1 : Infinity,
        ),
      );
    }
    beforeLast = last;
    last = current;
  }
  return at(last, to.length);
}

function at(numbers: readonly number[], index: number): number {
  return numbers[index] ?? Infinity;
}

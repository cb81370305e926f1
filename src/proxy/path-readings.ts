import type { Dialect } from '../dialects/dialect.js';

/** Most paths hold none of these, and can be read in one way only. */
const ODD = /[%\\;]|\/\.\.?(?:\/|$)/;
/** A segment that leads elsewhere, in a path as it is or as it is read. */
const DOTS = /[/\\]\.\.?(?:[/\\]|$)/;
/** Odd paths that clients send have two or three readings and some hundred characters. */
const MOST_READINGS = 32;
const MOST_CHARACTERS = 1_024;

/**
 * The path by which a request is metered, as plain as it can be read; empty if nobody can tell, and
 * null if the request spends nothing. What is forwarded is the target as it came, and how the
 * upstream reads it is the upstream's secret: no spelling of a path may pass unmetered.
 */
export function meteredPath(
  dialect: Pick<Dialect, 'isMetered'>,
  method: string,
  target: string,
): string | null {
  const query = target.indexOf('?');
  const path = query === -1 ? target : target.slice(0, query);
  if (!ODD.test(path)) return dialect.isMetered(method, path) ? path : null;
  if (!dialect.isMetered(method, null)) return null;
  const readings = readingsOf(path);
  if (readings === null) return '';
  return readings.findLast((reading) => dialect.isMetered(method, reading)) ?? null;
}

/**
 * From the path as it came to plainer ones. Which steps the upstream takes, in which order and how
 * often, is not known, so all are taken in all orders until nothing new comes of it. Null: there are
 * too many, or one has a segment of dots, and what that leads to depends on the order once more.
 */
function readingsOf(path: string): readonly string[] | null {
  if (path.length > MOST_CHARACTERS) return null;
  const readings = new Set([path]);
  // A Set walks on through what is added on the way.
  for (const reading of readings) {
    if (DOTS.test(reading) || readings.size > MOST_READINGS) return null;
    for (const step of STEPS) readings.add(step(reading));
  }
  return [...readings];
}

const STEPS: readonly ((path: string) => string)[] = [
  unescaped,
  (path) => path.replaceAll('\\', '/'),
  withoutParameters,
];

function unescaped(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    // One escape that is none, or no UTF-8, must not hide the others.
    return path.replaceAll(/%[0-7][0-9a-f]/gi, decodeURIComponent);
  }
}

/** What some servers take for no part of a segment's name, and what an escape may have hidden. */
function withoutParameters(path: string): string {
  const [plain = ''] = path.split(/[?#\0]/, 1);
  const names = plain.split('/').map((segment) => (segment.split(';', 1)[0] as string).trimEnd());
  return names.join('/');
}

/** What a value that is not understood was most likely meant to be: the end of a message, or nothing. */
import { formatCount, formatDuration, formatPercent } from './format.js';

/** For `0.03` and `3`. */
export function percentMeant(text: string, max: number): string {
  if (!/^\d{0,6}(\.\d{1,5})?$/.test(text) || text === '') return '';
  const number = Number(text);
  const fraction = number < 1 ? number : number / 100;
  return fraction > 0 && fraction <= max ? didYouMean(formatPercent(fraction)) : '';
}

const MAGNITUDES: Readonly<Record<string, number>> = { k: 1e3, m: 1e6, g: 1e9, b: 1e9 };

/** For `1M`, `1.5M`, `1,000,000`, `2e6`. */
export function countMeant(text: string, most: number): string {
  const plain = text.replace(/(?<=\d)[,_](?=\d{3}(?!\d))/g, '');
  const [, digits, power, letter] =
    /^(\d{1,15}(?:\.\d{1,9})?)(?:e\+?(\d{1,2})|\s*([kmgb]))?$/i.exec(plain) ?? [];
  const times = letter === undefined ? 10 ** Number(power ?? 0) : MAGNITUDES[letter.toLowerCase()];
  const count = Number(digits) * (times ?? NaN);
  const taken = Number.isInteger(count) && count >= 1 && count <= most;
  return taken ? didYouMean(formatCount(count)) : '';
}

const UNITS: readonly (readonly [RegExp, number])[] = [
  [/^d(ays?)?$/i, 86_400_000],
  [/^(h|hrs?|hours?)$/i, 3_600_000],
  [/^(m|mins?|minutes?)$/i, 60_000],
  [/^(s|secs?|seconds?)$/i, 1_000],
  [/^(ms|milliseconds?)$/i, 1],
];

/** For `5 hours`, `5H`, `1.5h`; not for a bare number, which may be of any unit. */
export function durationMeant(text: string): string {
  const [, digits, word = ''] = /^(\d{1,9}(?:\.\d{1,3})?)\s*([a-z]{1,12})$/i.exec(text) ?? [];
  const unitMs = UNITS.find(([unit]) => unit.test(word))?.[1] ?? NaN;
  const durationMs = Number(digits) * unitMs;
  const taken = Number.isSafeInteger(durationMs) && durationMs > 0;
  return taken ? didYouMean(formatDuration(durationMs)) : '';
}

function didYouMean(text: string): string {
  return `; did you mean "${text}"?`;
}

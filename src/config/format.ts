import type { ListenAddress } from './config.js';

/** The units of a duration, largest first. */
export const DURATION_UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
  ['ms', 1],
] as const;

/** Milliseconds as a setting would be written: `1h30m`. Whole and not negative; 0 is `0s`. */
export function formatDuration(durationMs: number): string {
  let rest = durationMs;
  let text = '';
  for (const [unit, unitMs] of DURATION_UNITS) {
    const count = Math.floor(rest / unitMs);
    if (count > 0) text += `${count}${unit}`;
    rest -= count * unitMs;
  }
  return text === '' ? '0s' : text;
}

/** A fraction as a setting would be written, to a thousandth of a percent: 0.03 is `3%`. */
export function formatPercent(fraction: number): string {
  return `${Math.round(fraction * 100_000) / 1_000}%`;
}

/** A whole number with its thousands apart, in a form that a setting takes: `1_000_000`. */
export function formatCount(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, '_');
}

/** `127.0.0.1:8787`, `[::1]:8787`. */
export function formatAddress({ host, port }: ListenAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** A URL without the slash that `URL` puts after a bare origin. */
export function hrefOf(url: URL): string {
  return url.pathname === '/' ? url.origin : url.href;
}

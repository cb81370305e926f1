import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { headerFields } from '../../src/dialects/header-fields.js';
import {
  MAX_WAIT_MS,
  parseGoDuration,
  parseRetryAfter,
  readRetryAfter,
  readRetryInfo,
  untilInstant,
} from '../../src/dialects/retry-after.js';

const NOW = Date.UTC(2026, 7, 3, 12, 0, 0);

describe('retry-after', () => {
  it.each([
    // Seconds; the last is the weekly cap of wire facts §1.2.
    ['0', 0],
    ['7', 7_000],
    ['59', 59_000],
    ['2895', 2_895_000],
    ['124633', 124_633_000],
    // A fraction is no RFC 9110, but sent and read by SDKs.
    ['0.25', 250],
    [' 30 ', 30_000],
    // HTTP-dates in the three forms of RFC 9110 §5.6.7.
    ['Mon, 03 Aug 2026 12:00:30 GMT', 30_000],
    ['Monday, 03-Aug-26 12:01:00 GMT', 60_000],
    ['Mon Aug  3 12:00:05 2026', 5_000],
    ['2026-08-03T12:00:10Z', 10_000],
    ['6m0s', 360_000],
    // A gateway added a line of its own.
    ['30, 124633', 124_633_000],
  ])('%j is %d ms', (text, waitMs) => {
    expect(parseRetryAfter(text, NOW)).toBe(waitMs);
  });

  it.each([
    '',
    ' ',
    '-1',
    '+5',
    '1e3',
    '0x10',
    'NaN',
    'Infinity',
    'soon',
    '5 seconds',
    '30,',
    '30, soon',
    // An epoch where seconds belong, and an overflow.
    '1785182400',
    '9'.repeat(400),
    // Past, or no date at all.
    'Mon, 03 Aug 2026 11:59:59 GMT',
    'Mon, 03 Aug 2026 12:00:00 GMT',
    'Mon, 31 Feb 2027 12:00:00 GMT',
    'Mon, 03 Foo 2026 12:00:30 GMT',
    'Mon, 03 Aug 2026 25:00:00 GMT',
    'Mon, 03 Aug 2026 12:00:30 CET',
    'Tue, 03 Aug 2927 12:00:30 GMT',
  ])('%j states nothing', (text) => {
    expect(parseRetryAfter(text, NOW)).toBeNull();
  });

  it.each([
    // An hour ahead, an hour behind, and in step.
    ['Mon, 03 Aug 2026 13:00:00 GMT', 'Mon, 03 Aug 2026 13:00:30 GMT', 30_000],
    ['Mon, 03 Aug 2026 11:00:00 GMT', 'Mon, 03 Aug 2026 11:00:30 GMT', 30_000],
    ['Mon, 03 Aug 2026 12:00:00 GMT', '2026-08-03T12:00:30Z', 30_000],
    // A date that tells nothing, or nonsense, leaves our own clock.
    ['soon', 'Mon, 03 Aug 2026 12:00:30 GMT', 30_000],
    ['Thu, 01 Jan 1970 00:00:00 GMT', 'Mon, 03 Aug 2026 12:00:30 GMT', 30_000],
    ['Mon, 03 Aug 2026 12:01:00 GMT', 'Mon, 03 Aug 2026 12:00:30 GMT', 30_000],
    ['Mon, 03 Aug 2026 13:00:00 GMT', '7', 7_000],
  ])('of an answer of %s: %s is %d ms', (date, text, waitMs) => {
    expect(readRetryAfter(headerFields({ date, 'retry-after': text }), NOW)).toBe(waitMs);
  });

  it('takes milliseconds before seconds, and seconds where milliseconds make no sense', () => {
    const read = (record: Record<string, string | string[]>) =>
      readRetryAfter(headerFields(record), NOW);
    expect(read({ 'retry-after-ms': '6830.5', 'retry-after': '7' })).toBe(6830.5);
    expect(read({ 'retry-after-ms': '-1', 'retry-after': '7' })).toBe(7_000);
    expect(read({ 'retry-after': ['7', '9'] })).toBe(9_000);
    expect(read({})).toBeNull();
  });

  it('is total: any text gives a wait within bounds or none', () => {
    const texts = fc.oneof(
      fc.string(),
      fc.string({ unit: 'grapheme' }),
      fc.double().map(String),
      fc.bigInt().map(String),
      fc.date({ noInvalidDate: true }).map((date) => date.toUTCString()),
      fc.stringMatching(/^[-+]?[\d.]{0,20}[nuµms h]{0,3}$/),
    );
    fc.assert(
      fc.property(texts, texts, (seconds, milliseconds) => {
        const headers = headerFields({ 'retry-after': seconds, 'retry-after-ms': milliseconds });
        const waitMs = readRetryAfter(headers, NOW);
        if (waitMs === null) return;
        expect(waitMs).toBeGreaterThanOrEqual(0);
        expect(waitMs).toBeLessThanOrEqual(MAX_WAIT_MS);
      }),
      { numRuns: 1000 },
    );
  });

  it('is monotone: more seconds, a later date or more of a unit is never a shorter wait', () => {
    const pair = fc.tuple(fc.nat(30_000_000), fc.nat(1000));
    const forms: ((seconds: number) => string)[] = [
      (seconds) => String(seconds),
      (seconds) => `${seconds}.5`,
      (seconds) => new Date(NOW + 1000 + seconds * 1000).toUTCString(),
      (seconds) => `${seconds}s`,
      (seconds) => `${Math.floor(seconds / 60)}m${seconds % 60}s`,
    ];
    fc.assert(
      fc.property(fc.constantFrom(...forms), pair, (form, [seconds, more]) => {
        const shorter = parseRetryAfter(form(seconds), NOW);
        const longer = parseRetryAfter(form(seconds + more), NOW);
        expect(shorter).not.toBeNull();
        expect(longer).not.toBeNull();
        expect(longer).toBeGreaterThanOrEqual(shorter ?? NaN);
      }),
    );
  });
});

describe('Go durations', () => {
  it.each([
    // The forms of wire facts §3.1.
    ['12ms', 12],
    ['976ms', 976],
    ['1s', 1_000],
    ['7.66s', 7_660],
    ['6m0s', 360_000],
    ['1h2m3s', 3_723_000],
    ['250us', 0.25],
    ['250µs', 0.25],
    ['250μs', 0.25],
    ['500000ns', 0.5],
    ['.5s', 500],
    ['1.s', 1_000],
  ])('%j is %d ms', (text, durationMs) => {
    expect(parseGoDuration(text)).toBeCloseTo(durationMs, 9);
  });

  it.each(['', '1', 's', '-1s', '1s ', '1s2', '1x', '1m s', '1e3s', '9'.repeat(30) + 'h'])(
    '%j is none',
    (text) => {
      expect(parseGoDuration(text)).toBeNull();
    },
  );
});

describe('google.rpc.RetryInfo', () => {
  const body = (detail: unknown) =>
    JSON.stringify({ error: { code: 429, status: 'RESOURCE_EXHAUSTED', details: [{}, detail] } });
  const TYPE = 'type.googleapis.com/google.rpc.RetryInfo';

  it.each([
    ['36s', 36_000],
    ['0.5s', 500],
    ['36.123456789s', 36_123.456789],
    ['0s', 0],
  ])('retryDelay %j is %d ms', (retryDelay, waitMs) => {
    expect(readRetryInfo(body({ '@type': TYPE, retryDelay }))).toBeCloseTo(waitMs, 6);
  });

  it('is found in the array that wraps a streamed error', () => {
    const inner = body({ '@type': TYPE, retryDelay: '36s' });
    expect(readRetryInfo(`[${inner}]`)).toBe(36_000);
  });

  it.each([
    body({ '@type': TYPE, retryDelay: '-3s' }),
    body({ '@type': TYPE, retryDelay: '36' }),
    body({ '@type': TYPE, retryDelay: '1.0123456789s' }),
    body({ '@type': TYPE, retryDelay: 36 }),
    body({ '@type': TYPE }),
    body({ '@type': 'type.googleapis.com/google.rpc.QuotaFailure', retryDelay: '36s' }),
    JSON.stringify({ error: { message: `"@type": "${TYPE}", "retryDelay": "36s"` } }),
    '{"error":{"details":[{"@type":"type.goo',
    'null',
    '[]',
    '',
  ])('%s states nothing', (text) => {
    expect(readRetryInfo(text)).toBeNull();
  });
});

describe('a wait until an instant', () => {
  it('is none for an instant that is unknown, past or over a year away', () => {
    expect(untilInstant(NOW + 1, NOW)).toBe(1);
    expect(untilInstant(null, NOW)).toBeNull();
    expect(untilInstant(NOW, NOW)).toBeNull();
    expect(untilInstant(NOW + MAX_WAIT_MS + 1, NOW)).toBeNull();
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseHttpDate, parseInstant, parseRfc3339 } from '../../src/dialects/instants.js';

const NOW = Date.UTC(2026, 7, 3);
const instants = fc
  .date({ min: new Date('1970-01-01'), max: new Date('2999-12-31'), noInvalidDate: true })
  .map((date) => date.getTime());

describe('instants', () => {
  it('reads what Date writes, for any instant', () => {
    fc.assert(
      fc.property(instants, (instant) => {
        const date = new Date(instant);
        const second = Math.floor(instant / 1000) * 1000;
        expect(parseRfc3339(date.toISOString())).toBe(instant);
        expect(parseHttpDate(date.toUTCString(), NOW)).toBe(second);
        expect(parseInstant(String(second / 1000))).toBe(second);
      }),
    );
  });

  it.each([
    ['2024-03-26T20:00:00Z', Date.UTC(2024, 2, 26, 20)],
    ['2026-04-11T07:00:00.528743+00:00', Date.UTC(2026, 3, 11, 7, 0, 0, 528)],
    ['2026-04-11T07:00:00+05:30', Date.UTC(2026, 3, 11, 1, 30)],
    ['2026-04-11t07:00:00-01:00', Date.UTC(2026, 3, 11, 8)],
    ['2026-12-31T23:59:60Z', Date.UTC(2027, 0, 1)],
    ['2028-02-29T00:00:00Z', Date.UTC(2028, 1, 29)],
    // Epoch seconds of a subscription's reset (wire facts §1.2), and milliseconds.
    ['1785182400', 1_785_182_400_000],
    ['1785182400.5', 1_785_182_400_500],
    ['1785182400000', 1_785_182_400_000],
  ])('%s', (text, instant) => {
    expect(parseInstant(text)).toBe(instant);
  });

  it.each([
    '',
    'soon',
    '-1',
    '1e9',
    '2026-02-29T00:00:00Z',
    '2100-02-29T00:00:00Z',
    '2026-04-31T00:00:00Z',
    '2026-06-31T00:00:00Z',
    '2026-09-31T00:00:00Z',
    '2026-11-31T00:00:00Z',
    '2026-12-32T00:00:00Z',
    '2026-13-01T00:00:00Z',
    '2026-00-01T00:00:00Z',
    '2026-01-00T00:00:00Z',
    '2026-01-01T24:00:00Z',
    '2026-01-01T00:60:00Z',
    '2026-01-01T00:00:61Z',
    '2026-01-01T00:00:00',
    '2026-01-01T00:00:00+24:00',
    '2026-01-01T00:00:00+00:60',
    '2026-01-01',
  ])('%j is none', (text) => {
    expect(parseInstant(text)).toBeNull();
  });

  it('takes two digits for the last such year that is not over 50 years ahead', () => {
    const year = (text: string, now: number) =>
      new Date(parseHttpDate(`Sunday, 06-Nov-${text} 08:49:37 GMT`, now) ?? NaN).getUTCFullYear();
    expect(year('94', NOW)).toBe(1994);
    expect(year('26', NOW)).toBe(2026);
    expect(year('76', NOW)).toBe(2076);
    expect(year('77', NOW)).toBe(1977);
  });
});

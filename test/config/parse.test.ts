import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  formatAddress,
  formatCount,
  formatDuration,
  formatPercent,
} from '../../src/config/format.js';
import {
  countOr,
  duration,
  FINGERPRINT,
  HEADER_NAME,
  HEADER_VALUE,
  INSTANCE_NAME,
  ladder,
  name,
  oneOf,
  percent,
  SECRET,
  type Parser,
} from '../../src/config/parse.js';
import { FILE_NAME, LISTEN_ADDRESS, UPSTREAM_URL } from '../../src/config/parse-places.js';
import { STATE_STORE } from '../../src/config/state-store.js';
import {
  LIMIT_SETTINGS,
  SCOPE_SETTINGS,
  UPSTREAM_SETTINGS,
} from '../../src/config/file-settings.js';
import { CONFIG_FILE, SETTINGS, type Setting } from '../../src/config/settings.js';

const DAY = 86_400_000;
const anyDuration = duration({ min: 0, max: 366 * DAY }, '5h');

/** The value, or the message if the text was refused. */
function outcome<Value>(parser: Parser<Value>, text: string): Value | string {
  const result = parser.parse(text);
  return result.ok ? result.value : result.message;
}

describe('durations', () => {
  test.each([
    ['250ms', 250],
    ['30s', 30_000],
    ['5m', 300_000],
    ['1h', 3_600_000],
    ['7d', 7 * DAY],
    ['1h30m', 5_400_000],
    ['1d2h3m4s5ms', DAY + 7_200_000 + 180_000 + 4_005],
    ['1m1ms', 60_001],
    ['0', 0],
    ['0s', 0],
  ])('%s is %d ms', (text, expected) => {
    expect(outcome(anyDuration, text)).toBe(expected);
  });

  test.each(['', '5', '-5h', '5 fortnights', '30m1h', '1h1h', 'h', '1e3s'])(
    '"%s" is not a duration',
    (text) => {
      expect(outcome(anyDuration, text)).toBe('is not a duration');
    },
  );

  test.each([
    ['5 h', '5h'],
    ['5H', '5h'],
    ['1.5h', '1h30m'],
    ['5hours', '5h'],
    ['5 hours', '5h'],
    ['90 Seconds', '1m30s'],
    ['250 ms', '250ms'],
    ['1 day', '1d'],
    ['1 min', '1m'],
  ])('"%s" is not a duration, and "%s" was meant', (text, meant) => {
    expect(outcome(anyDuration, text)).toBe(`is not a duration; did you mean "${meant}"?`);
    expect(outcome(anyDuration, meant)).toBeTypeOf('number');
  });

  test('bounds are inclusive, and what lies beyond them is named', () => {
    const bounded = duration({ min: 1_000, max: 60_000 }, '5s');
    expect(outcome(bounded, '1s')).toBe(1_000);
    expect(outcome(bounded, '60s')).toBe(60_000);
    expect(outcome(bounded, '999ms')).toBe('is shorter than 1s');
    expect(outcome(bounded, '60001ms')).toBe('is longer than 1m');
    expect(outcome(bounded, '0')).toBe('is not a duration');
    expect(outcome(bounded, '999999999999999d')).toBe('is longer than 1m');
  });

  test('0 is allowed below the least where it has a meaning', () => {
    const orNever = duration({ min: 1_000, max: 60_000, zero: 'never' }, '5s');
    expect(outcome(orNever, '0')).toBe(0);
    expect(outcome(orNever, '0ms')).toBe(0);
    expect(outcome(orNever, '1ms')).toBe('is shorter than 1s');
  });

  test('every whole number of ms survives being written and read', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 366 * DAY }), (durationMs) => {
        expect(outcome(anyDuration, formatDuration(durationMs))).toBe(durationMs);
      }),
    );
  });
});

describe('ladders', () => {
  const rungs = ladder({ min: 10, max: DAY }, '30s');

  test('ascend, with spaces if you like', () => {
    expect(outcome(rungs, '30s, 60s,5m')).toEqual([30_000, 60_000, 300_000]);
    expect(outcome(rungs, '100ms')).toEqual([100]);
  });

  test.each([
    ['30s,30s', 'is not ascending: 30s follows 30s'],
    ['60s,30s', 'is not ascending: 30s follows 60s'],
    ['30s,', 'is not a ladder: "" is not a duration'],
    ['30s,1', 'is not a ladder: "1" is not a duration'],
    ['1ms', 'is not a ladder: "1ms" is shorter than 10ms'],
    ['1s,2s,3s,4s,5s,6s,7s,8s,9s,10s,11s', 'has 11 durations'],
  ])('%s %s', (text, message) => {
    expect(outcome(rungs, text)).toBe(message);
  });
});

describe('percentages', () => {
  const share = percent(0, 1, '3%');

  test.each([
    ['3%', 0.03],
    ['0.1%', 0.001],
    ['0.3%', 0.003],
    ['2.5%', 0.025],
    ['100%', 1],
    ['0%', 0],
  ])('%s is exactly %d', (text, fraction) => {
    expect(outcome(share, text)).toBe(fraction);
  });

  test.each([
    ['0.03', 'is not a percentage; did you mean "3%"?'],
    ['3', 'is not a percentage; did you mean "3%"?'],
    ['.5', 'is not a percentage; did you mean "50%"?'],
    ['three', 'is not a percentage'],
    ['', 'is not a percentage'],
    ['-3%', 'is not a percentage'],
    ['3 %', 'is not a percentage'],
    ['0.0001%', 'is not a percentage'],
    ['101%', 'is more than 100%'],
  ])('"%s" %s', (text, message) => {
    expect(outcome(share, text)).toBe(message);
  });

  test('every thousandth of a percent survives being written and read', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 100_000 }), (thousandths) => {
        const fraction = thousandths / 100_000;
        expect(outcome(share, formatPercent(fraction))).toBe(fraction);
      }),
    );
  });
});

describe('counts', () => {
  const count = countOr('learn', '1_000_000');

  test.each([
    ['1', 1],
    ['1000000', 1_000_000],
    ['1_000_000', 1_000_000],
    ['1000000000000', 1_000_000_000_000],
    ['learn', null],
  ])('%s', (text, expected) => {
    expect(outcome(count, text)).toBe(expected);
  });

  test.each([
    ['0', 'is less than 1'],
    ['1_000_000_000_001', 'is more than 1_000_000_000_000'],
    ['1e6', 'is not a whole number; did you mean "1_000_000"?'],
    ['1,000,000', 'is not a whole number; did you mean "1_000_000"?'],
    ['1M', 'is not a whole number; did you mean "1_000_000"?'],
    ['1.5 m', 'is not a whole number; did you mean "1_500_000"?'],
    ['200k', 'is not a whole number; did you mean "200_000"?'],
    ['1e99', 'is not a whole number'],
    ['1,00', 'is not a whole number'],
    ['1_00', 'is not a whole number'],
    ['1_000_', 'is not a whole number'],
    ['1.5', 'is not a whole number'],
    ['-1', 'is not a whole number'],
    ['Infinity', 'is not a whole number'],
    ['9'.repeat(400), 'is not a whole number'],
  ])('"%s" %s', (text, message) => {
    expect(outcome(count, text)).toBe(message);
  });

  test('every count survives being written and read, in either form', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1_000_000_000_000 }), (number) => {
        expect(outcome(count, formatCount(number))).toBe(number);
        expect(outcome(count, String(number))).toBe(number);
      }),
    );
  });
});

describe('listen addresses', () => {
  test.each([
    ['127.0.0.1:8787', { host: '127.0.0.1', port: 8787 }],
    ['0.0.0.0:0', { host: '0.0.0.0', port: 0 }],
    ['[::1]:8787', { host: '::1', port: 8787 }],
    ['[0:0:0:0:0:0:0:1]:8787', { host: '::1', port: 8787 }],
    ['[fe80::1%eth0]:80', { host: 'fe80::1%eth0', port: 80 }],
    ['LocalHost:65535', { host: 'localhost', port: 65_535 }],
    ['my-host_1.example.com:80', { host: 'my-host_1.example.com', port: 80 }],
  ])('%s', (text, expected) => {
    expect(outcome(LISTEN_ADDRESS, text)).toEqual(expected);
  });

  test.each([
    [
      ':8787',
      'has no host; did you mean "127.0.0.1:8787" (this machine only) or "0.0.0.0:8787" (every interface)?',
    ],
    [
      '8787',
      'has no host; did you mean "127.0.0.1:8787" (this machine only) or "0.0.0.0:8787" (every interface)?',
    ],
    ['::1:8787', 'is not an address; did you mean "[::1]:8787"?'],
    ['http://127.0.0.1:8787', 'is not an address (leave out the "http://")'],
    ['127.0.0.1', 'is not an address'],
    ['127.0.0.1:', 'is not an address'],
    ['127.0.0.1:x', 'is not an address'],
    ['127.0.0.1:65536', 'has a port above 65535'],
    ['127.0.0.256:80', 'has a host that is neither a name nor an IP address'],
    ['[127.0.0.1]:80', 'has a host that is neither a name nor an IP address'],
    ['a b:80', 'has a host that is neither a name nor an IP address'],
    ['*:80', 'has a host that is neither a name nor an IP address'],
  ])('"%s" %s', (text, message) => {
    expect(outcome(LISTEN_ADDRESS, text)).toBe(message);
  });

  test('every address survives being written and read', () => {
    const host = fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain());
    fc.assert(
      fc.property(host, fc.integer({ min: 0, max: 65_535 }), (anyHost, port) => {
        const first = LISTEN_ADDRESS.parse(formatAddress({ host: anyHost, port }));
        if (!first.ok) throw new Error(first.message);
        expect(outcome(LISTEN_ADDRESS, formatAddress(first.value))).toEqual(first.value);
        expect(first.value.port).toBe(port);
      }),
    );
  });
});

describe('upstream URLs', () => {
  test.each([
    ['https://api.anthropic.com', 'https://api.anthropic.com/'],
    ['https://api.anthropic.com/', 'https://api.anthropic.com/'],
    ['HTTP://Localhost:4000/base/path//', 'http://localhost:4000/base/path'],
    ['http://[::1]:4000/a%20b/', 'http://[::1]:4000/a%20b'],
  ])('%s', (text, href) => {
    const result = UPSTREAM_URL.parse(text);
    expect(result.ok && result.value.href).toBe(href);
  });

  test.each([
    ['api.anthropic.com', 'is not a URL; did you mean "https://api.anthropic.com"?'],
    [
      'api.example.com:8443/base',
      'is neither http nor https; did you mean "https://api.example.com:8443/base"?',
    ],
    ['', 'is not a URL'],
    ['https://', 'is not a URL'],
    ['ftp://host/', 'is neither http nor https'],
    ['file:///etc/passwd', 'is neither http nor https'],
    ['https://user@host', 'has a user or password; agents send their own credentials'],
    ['https://:pw@host', 'has a user or password; agents send their own credentials'],
    ['https://host/?a=b', 'has a query or a fragment'],
    ['https://host/?', 'has a query or a fragment'],
    ['https://host/#x', 'has a query or a fragment'],
    ['https://host/a b', 'has a space in it'],
    ['http://host:0/', 'has port 0, where nothing can listen'],
  ])('"%s" %s', (text, message) => {
    expect(outcome(UPSTREAM_URL, text)).toBe(message);
  });
});

const ENCODE =
  'percent-encode the password: "/" is %2F, "#" is %23, "?" is %3F, "@" is %40, "%" is %25';

describe('stores', () => {
  test.each([
    ['file:./data/state.json', './data/state.json'],
    ['file:state', 'state'],
    ['FILE:/var/lib/state.json', '/var/lib/state.json'],
    ['file:///var/lib/a%20b.json', '/var/lib/a b.json'],
  ])('%s', (text, path) => {
    expect(outcome(STATE_STORE, text)).toEqual({ kind: 'file', path });
  });

  test.each([
    ['sqlite:./data/state.db', './data/state.db'],
    ['SQLite:state', 'state'],
    ['sqlite:///var/lib/a%20b.db', '/var/lib/a b.db'],
  ])('%s', (text, path) => {
    expect(outcome(STATE_STORE, text)).toEqual({ kind: 'sqlite', path });
  });

  test.each([
    ['postgres://localhost', 'names no database'],
    ['postgres:localhost/db', 'has no "//"'],
    ['postgresql://db/tide#x', `has a fragment; ${ENCODE}`],
    ['postgres://me:hun/ter@db/tide', `is not a URL; ${ENCODE}`],
    ['postgres://me:hun#ter@db/tide', `is not a URL; ${ENCODE}`],
    ['postgres://me:12/34@db/tide', `has an "@" in the name of the database; ${ENCODE}`],
    ['postgres://me:50%off@db/tide', `has a "%" that begins no character; ${ENCODE}`],
    ['postgres://me:caf%E9@db/tide', `has a "%" that begins no character; ${ENCODE}`],
    ['./data/state.json', 'does not say which store; did you mean "file:./data/state.json"?'],
    ['./data/state.db', 'does not say which store; did you mean "sqlite:./data/state.db"?'],
    ['state', 'does not say which store'],
    ['sqlit:state', 'is not known; did you mean "sqlite:"?'],
    ['sqlite:', 'has no path'],
    ['sqlite::memory:', 'forgets everything at a restart'],
    ['sqlite:data/', 'names a directory'],
    ['sqlite:~/state.db', 'begins with "~", which only a shell can resolve'],
    ['sqlite://host/state.db', 'names another host; an absolute path is sqlite:/path/to/state.db'],
    ['fle:state', 'is not known; did you mean "file:"?'],
    ['redis:x', 'names an unknown store'],
    ['file:', 'has no path'],
    ['file:data/', 'names a directory'],
    ['file:.', 'names a directory'],
    ['file:a/..', 'names a directory'],
    ['file:~/state.json', 'begins with "~", which only a shell can resolve'],
    ['file://host/state.json', 'names another host; an absolute path is file:/path/to/state.json'],
    ['file:a\0b', 'has a NUL character in it'],
  ])('"%s" %s', (text, message) => {
    expect(outcome(STATE_STORE, text)).toBe(message);
  });
});

describe('words', () => {
  test.each([
    [name('x'), 'claude.code/5h_opus-1', 'claude.code/5h_opus-1'],
    [name('x'), 'a'.repeat(64), 'a'.repeat(64)],
    [name('x'), 'a'.repeat(65), 'is not a name'],
    [name('x'), '/a', 'is not a name'],
    [name('x'), 'Upper', 'is not a name'],
    [name('x'), '', 'is not a name'],
    [name('x'), 'a b', 'is not a name'],
    [name('x'), 'constructor', 'is reserved'],
    [INSTANCE_NAME, 'Box-1.local:8787', 'Box-1.local:8787'],
    [INSTANCE_NAME, 'toString', 'is reserved'],
    [INSTANCE_NAME, 'a/b', 'is not a name'],
    [SECRET, '0123456789abcdef', '0123456789abcdef'],
    [SECRET, '0123456789abcde', 'is shorter than 16 characters'],
    [SECRET, 'x'.repeat(257), 'is longer than 256 characters'],
    [SECRET, 'sixteen chars or more', 'has spaces or characters beyond ASCII'],
    [SECRET, 'schlüsselschlüssel', 'has spaces or characters beyond ASCII'],
    [HEADER_NAME, 'X-Team', 'x-team'],
    [HEADER_NAME, 'x team', 'is not the name of a header'],
    [HEADER_NAME, 'Authorization', 'carries a credential'],
    [HEADER_NAME, 'x-api-key', 'carries a credential'],
    [HEADER_NAME, 'Api-Key', 'carries a credential'],
    [HEADER_NAME, 'x-goog-api-key', 'carries a credential'],
    [HEADER_VALUE, 'team one', 'team one'],
    [HEADER_VALUE, 'team\nother: x', 'is not the value of a header'],
    [HEADER_VALUE, '', 'is not the value of a header'],
    [FINGERPRINT, '0123456789ABCDEF', '0123456789abcdef'],
    [FINGERPRINT, '0123456789abcde', 'is not a fingerprint'],
    [oneOf(['fixed']), 'fixed', 'fixed'],
    [oneOf(['fixed']), 'Fixed', 'is not known; did you mean "fixed"?'],
    [oneOf(['fixed']), 'round', 'is not known'],
  ])('%# %s', (parser, text, expected) => {
    expect(outcome(parser as Parser<string>, text)).toBe(expected);
  });
});

const TABLES: readonly Readonly<Record<string, Setting>>[] = [
  SETTINGS,
  UPSTREAM_SETTINGS,
  LIMIT_SETTINGS,
  SCOPE_SETTINGS,
  { config: CONFIG_FILE },
];

describe('the table of settings', () => {
  const all = TABLES.flatMap((table) => Object.entries(table));

  test.each(all)('%s takes its own default and example', (_key, { parser, absent }) => {
    if ('text' in absent) expect(parser.parse(absent.text)).toMatchObject({ ok: true });
    // An example in words says how to come by a value.
    if (!parser.example.startsWith('what ')) {
      expect(parser.parse(parser.example)).toMatchObject({ ok: true });
    }
  });

  test('the environment has the name of the key in the file', () => {
    for (const [key, { env }] of Object.entries(SETTINGS)) {
      expect(env).toBe(`TIDEGATE_${key.replace(/[A-Z]/g, '_$&').toUpperCase()}`);
    }
  });

  test('no text makes a parser throw or gives a number that is none', () => {
    const digits = fc.stringMatching(/^[\d.,_%:smhd[\]/ -]{0,30}$/);
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      digits,
      fc.webUrl({ withQueryParameters: true }),
    );
    const parsers = [...all.map(([, { parser }]) => parser), FILE_NAME];
    fc.assert(
      fc.property(fc.constantFrom(...parsers), text, (parser: Parser<unknown>, anyText) => {
        const result = parser.parse(anyText);
        if (!result.ok) {
          expect(result.message).toMatch(/^(is|has|names|carries|begins|arrives|does) /);
          return;
        }
        for (const part of [result.value].flat()) {
          if (typeof part === 'number') expect(Number.isFinite(part) && part >= 0).toBe(true);
        }
      }),
      { numRuns: 2_000 },
    );
  });
});

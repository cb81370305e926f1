import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { LimitRules } from '../../src/budget/settings.js';
import { EXAMPLE_FILE, FILLED_EXAMPLE_FILE } from './reference.js';
import { formatProblem } from '../../src/config/problem.js';
import {
  LIMIT_SETTINGS,
  SCOPE_SETTINGS,
  UPSTREAM_SETTINGS,
} from '../../src/config/file-settings.js';
import { SETTINGS } from '../../src/config/settings.js';
import { config, load, mistakes } from './load.js';

const URL = 'https://api.anthropic.com';

/** One limit of 1_000 tokens, but for what is given. */
function limit(given: Partial<LimitRules>): LimitRules {
  return {
    name: 'tokens',
    unit: 'tokens',
    kind: 'fixed',
    windowMs: 18_000_000,
    models: null,
    budget: null,
    ...given,
  };
}

test('the file takes what the environment takes, by its own names', () => {
  const file = `
    listen: 127.0.0.1:9000
    upstream: http://localhost:4000
    upstreamTimeout: 1m
    adminToken: a-token-of-16-ch
    budget: 1000
    window: 1m
    mode: observe
    backoff: [1s, 2s]
    probeEvery: 0
    nudge: 4%
    onEmptyState: cautious
  `;
  const result = config({}, file);
  expect(result).toEqual(
    config({
      TIDEGATE_LISTEN: '127.0.0.1:9000',
      TIDEGATE_UPSTREAM: 'http://localhost:4000',
      TIDEGATE_UPSTREAM_TIMEOUT: '1m',
      TIDEGATE_ADMIN_TOKEN: 'a-token-of-16-ch',
      TIDEGATE_BUDGET: '1000',
      TIDEGATE_WINDOW: '1m',
      TIDEGATE_MODE: 'observe',
      TIDEGATE_BACKOFF: '1s,2s',
      TIDEGATE_PROBE_EVERY: '0',
      TIDEGATE_NUDGE: '4%',
      TIDEGATE_ON_EMPTY_STATE: 'cautious',
    }),
  );
  expect(result.mode).toBe('observe');
});

test('every default can be written into the file', () => {
  const lines = Object.entries(SETTINGS).flatMap(([key, { absent }]) =>
    'text' in absent ? [`${key}: ${absent.text}`] : [],
  );
  expect(lines.length).toBeGreaterThan(15);
  expect(config({}, lines.join('\n'))).toEqual(config({}));
});

test('an empty file and one of comments alone set nothing', () => {
  expect(config({}, '')).toEqual(config({}));
  expect(config({}, '# window: 5h\n\n')).toEqual(config({}));
});

test('the environment wins over the file, and both are named', () => {
  const result = load({ TIDEGATE_TICK: '5s' }, 'tick: 2m\nwindow: 1h\n');
  expect(result).toMatchObject({ ok: true, config: { tickMs: 5_000 } });
  expect(result.ok && result.set).toEqual([
    'TIDEGATE_CONFIG',
    'window (tidegate.yaml:2)',
    'TIDEGATE_TICK, over tick (tidegate.yaml:1)',
  ]);
});

test('a mistake in the file is one even where the environment overrides it', () => {
  expect(mistakes({ TIDEGATE_TICK: '5s' }, 'tick: often')).toHaveLength(1);
});

describe('a file that cannot be read', () => {
  test.each([
    ['missing.yaml', 'there is no such file (/home/op/missing.yaml)'],
    ['/etc/missing.yaml', 'there is no such file (/etc/missing.yaml)'],
  ])('%s', (name, reason) => {
    expect(mistakes({ TIDEGATE_CONFIG: name, TIDEGATE_TICK: 'x' })).toEqual([
      `TIDEGATE_CONFIG: "${name}" cannot be read: ${reason}. Allowed: the path of a YAML file, relative to the working directory or absolute; example: ./tidegate.yaml`,
      expect.stringMatching(/^TIDEGATE_TICK: "x" is not a duration/),
    ]);
  });

  test.each([
    ['tick: 1m\n\tdrain: 1s', 2, 1, 'tabs cannot indent'],
    ['tick: "1m\n', 2, 1, 'a quotation mark, bracket, comma or colon is missing'],
    ['listen: [::1]:8787', 1, 14, 'values with [ ] { } : # in them need quotes'],
    ['tick: 1m\nnonsense\n', 2, 1, 'a quotation mark, bracket, comma or colon is missing'],
    ['tick: 1m\non and\non: 1m', 2, 1, 'this line is no "key: value"'],
    ['tick: 1m\n---\ntick: 2m', 2, 1, 'it holds more than one document'],
    ['tick: !env TICK', 1, 7, 'tags (!name) have no meaning here'],
    ['budget: [1', 1, 11, 'a [ or { before is not closed'],
    ['budget: {a: 1\ntick: 1m', 2, 1, 'a [ or { before is not closed'],
    ['a:\n  b: 1\n c: 2', 3, 1, 'the indentation does not fit the lines before'],
    ['tick: @often', 1, 7, 'a value that begins with a special character needs quotes'],
  ])('%j names line and column', (file, line, column, explanation) => {
    const [first] = mistakes({}, file);
    expect(first).toContain(`tidegate.yaml (line ${line}, column ${column}): is not valid YAML: `);
    expect(first).toContain(explanation);
  });

  test('broken YAML is never quoted, for it may hold a token', () => {
    const secret = 'hunter2hunter2hunter2';
    const broken = [
      `adminToken: "${secret}`,
      `adminToken: ${secret}: x`,
      `adminToken: [${secret}`,
      `adminToken: "\\q${secret}"`,
      `adminToken: >${secret}`,
      `adminToken: !${secret} x`,
      `adminToken: *${secret}`,
      `adminToken: @${secret}`,
      `${secret}`,
      `- ${secret}`,
      `adminToken:\n  ${secret}:\n - x`,
      `%${secret}\n---\ntick: 1s`,
      `adminToken: ${secret} }\n} ${secret}`,
      `adminToken: {${secret}: 1, ${secret}`,
    ];
    for (const file of broken) {
      const result = load({}, file);
      if (!result.ok) expect(JSON.stringify(result.problems), file).not.toContain(secret);
    }
    expect(broken.filter((file) => load({}, file).ok)).toEqual([]);
  });

  test.each(['- a\n- b', 'just text', '[1, 2]'])('%j holds no settings', (file) => {
    expect(mistakes({}, file)).toEqual([
      'tidegate.yaml: holds no settings. Allowed: lines of "key: value"; example: window: 5h',
    ]);
  });

  test('an asterisk without quotes is named as the cause', () => {
    const file = `upstreams: [{url: "${URL}", limits: [{models: [*-opus]}]}]`;
    expect(mistakes({}, file)).toEqual([
      'upstreams[0].limits[0].models[0] (tidegate.yaml:1): begins with *, which has a meaning in YAML. Allowed: such values in quotes',
    ]);
  });

  test('aliases work; those that go round or multiply end at a bound', () => {
    const shared = `
upstreams:
  - name: one
    url: ${URL}
    listen: 127.0.0.1:9000
    limits: &limits [{budget: 5}]
  - name: two
    url: ${URL}
    listen: 127.0.0.1:9001
    limits: *limits
`;
    expect(config({}, shared).upstreams[1]?.defaultScope.limits).toEqual([limit({ budget: 5 })]);
    expect(mistakes({}, 'backoff: &a [*a]')).toContainEqual(
      expect.stringContaining('is nested too deeply or too large'),
    );
    const bomb = ['a0: &a0 [x, x, x, x, x, x, x, x, x]'];
    for (let step = 1; step < 10; step += 1) {
      bomb.push(
        `a${step}: &a${step} [${Array(9)
          .fill(`*a${step - 1}`)
          .join(', ')}]`,
      );
    }
    expect(mistakes({}, bomb.join('\n'))).toContainEqual(
      expect.stringContaining('is nested too deeply or too large'),
    );
  });
});

describe('keys', () => {
  test.each([
    ['windw: 5h', 'windw (tidegate.yaml:1): is not a setting here; did you mean "window"?'],
    [
      'admin_listen: x',
      'admin_listen (tidegate.yaml:1): is not a setting here; did you mean "adminListen"?',
    ],
    [
      'url: x',
      'url (tidegate.yaml:1): is not a setting here; it belongs in an entry of "upstreams"',
    ],
    [
      'limits: []',
      'limits (tidegate.yaml:1): is not a setting here; it belongs in an entry of "upstreams"',
    ],
    ['xyzzy: 1', 'xyzzy (tidegate.yaml:1): is not a setting here.'],
    ['__proto__: 1', '__proto__ (tidegate.yaml:1): is not a setting here.'],
    ['config: x', 'config (tidegate.yaml:1): is not a setting here.'],
    ['? [a, b]\n: x', '? (tidegate.yaml:1): is not a setting here.'],
  ])('%s', (file, message) => {
    const found = mistakes({}, file);
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(message);
    expect(found[0]).toContain('Allowed: listen, upstream, dialect,');
  });

  test('a key in the wrong group is sent to the right one', () => {
    const file = `
upstreams:
  - url: ${URL}
    budget: 5
    tick: 1s
    limits:
      - windw: 5h
`;
    expect(mistakes({}, file).map((text) => text.replace(/ Allowed.*/, ''))).toEqual([
      'upstreams[0].budget (tidegate.yaml:4): is not a setting here; it belongs in an entry of "limits".',
      'upstreams[0].tick (tidegate.yaml:5): is not a setting here; it belongs at the top of the file.',
      'upstreams[0].limits[0].windw (tidegate.yaml:7): is not a setting here; did you mean "window"?',
    ]);
  });

  test('a key twice is a mistake, at any depth', () => {
    const file = `upstreams:\n  - url: ${URL}\n    limits:\n      - budget: 1\n        budget: 2\n`;
    expect(mistakes({}, file)).toEqual([
      'upstreams[0].limits[0].budget (tidegate.yaml:5): is given twice, first at tidegate.yaml:4. Allowed: each key once',
    ]);
  });

  test.each([
    ['tick:', 'tick (tidegate.yaml:1): has no value.'],
    ['tick: ""', 'tick (tidegate.yaml:1): has no value.'],
    ['tick: {a: b}', 'tick (tidegate.yaml:1): is a group of settings, not a value.'],
    ['backoff: []', 'backoff (tidegate.yaml:1): is an empty list.'],
    ['backoff: [[1s]]', 'backoff (tidegate.yaml:1): is a list of groups, not a value.'],
    ['upstreams: x', 'upstreams (tidegate.yaml:1): is not a list.'],
    ['upstreams: []', 'upstreams (tidegate.yaml:1): is an empty list.'],
    ['upstreams: [x]', 'upstreams[0] (tidegate.yaml:1): is not a group of settings.'],
    ['upstreams: [{name: a}]', 'upstreams[0].url (tidegate.yaml:1): is missing.'],
  ])('%s', (file, message) => {
    expect(mistakes({}, file)).toEqual([expect.stringContaining(message)]);
  });
});

describe('upstreams', () => {
  test('the example of the reference has placeholders, both of which are refused', () => {
    expect(mistakes({}, EXAMPLE_FILE).map((text) => text.replace(/ \(tidegate.*/, ''))).toEqual([
      'adminToken',
      'upstreams[1].fingerprintKey',
    ]);
  });

  test('the example of the reference is a valid configuration, once they are filled in', () => {
    const { upstreams, admin } = config({}, FILLED_EXAMPLE_FILE);
    expect(admin.listen).toEqual({ host: '0.0.0.0', port: 8788 });
    const [subscription, keys] = upstreams;
    expect(subscription?.defaultScope).toEqual({
      name: 'subscription',
      limits: [
        limit({ name: '5h', budget: 1_000_000 }),
        limit({ name: '7d', windowMs: 604_800_000 }),
        limit({ name: '7d_opus', windowMs: 604_800_000, models: ['claude-opus-*'] }),
      ],
    });
    const perMinute = [
      limit({ name: 'input_tokens', unit: 'input_tokens', windowMs: 60_000, budget: 400_000 }),
      limit({ name: 'requests', unit: 'requests', windowMs: 60_000, budget: 50 }),
    ];
    expect(keys?.defaultScope).toEqual({ name: 'keys', limits: perMinute });
    expect(keys?.listen).toEqual({ host: '::1', port: 8789 });
    expect(keys?.timeoutMs).toBe(600_000);
    expect(keys?.scopes).toEqual([
      {
        name: 'keys/research',
        limits: perMinute,
        match: { by: 'header', header: 'x-team', value: 'research' },
      },
      {
        name: 'keys/batch',
        limits: [limit({ name: 'requests', unit: 'requests', windowMs: 60_000, budget: 5 })],
        match: { by: 'key', fingerprint: '3f2a9c0d5b7e1846' },
      },
    ]);
  });

  test('an only upstream needs nothing but its URL', () => {
    expect(config({}, `upstreams: [{url: "${URL}"}]`)).toEqual(config({}));
  });

  test('a fingerprint of digits alone stays a text', () => {
    const file = `
upstreams:
  - url: ${URL}
    fingerprintKey: a-key-of-16-char
    scopes:
      - name: digits
        keyFingerprint: 0012345678901234
`;
    expect(config({}, file).upstreams[0]?.scopes[0]?.match).toEqual({
      by: 'key',
      fingerprint: '0012345678901234',
    });
  });

  test('the environment overrides an only upstream with an only limit', () => {
    const file = `
upstreams:
  - name: one
    url: ${URL}
    listen: 127.0.0.1:9000
    timeout: 1m
    limits:
      - name: five
        window: 5h
        budget: 5
`;
    const result = load(
      {
        TIDEGATE_UPSTREAM: 'http://localhost:4000',
        TIDEGATE_LISTEN: '127.0.0.1:9001',
        TIDEGATE_UPSTREAM_TIMEOUT: '2m',
        TIDEGATE_BUDGET: 'learn',
        TIDEGATE_WINDOW: '1h',
      },
      file,
    );
    expect(result).toMatchObject({
      ok: true,
      config: {
        instance: 'box:9001',
        upstreams: [
          {
            name: 'one',
            listen: { port: 9001 },
            timeoutMs: 120_000,
            defaultScope: {
              name: 'one',
              limits: [{ name: 'five', windowMs: 3_600_000, budget: null }],
            },
          },
        ],
      },
    });
    expect(result.ok && result.config.upstreams[0]?.url.origin).toBe('http://localhost:4000');
    expect(result.ok && result.set).toContain(
      'TIDEGATE_BUDGET, over upstreams[0].limits[0].budget (tidegate.yaml:10)',
    );
    expect(result.ok && result.set).not.toContain(
      'upstreams[0].limits[0].budget (tidegate.yaml:10)',
    );
  });

  const TWO = `
upstreams:
  - {name: one, url: "${URL}", listen: "127.0.0.1:9000"}
  - {name: two, url: "${URL}", listen: "127.0.0.1:9001"}
`;

  test('with several upstreams a variable of one is ambiguous', () => {
    const ambiguous = {
      TIDEGATE_UPSTREAM: 'http://localhost:4000',
      TIDEGATE_DIALECT: 'anthropic',
      TIDEGATE_UPSTREAM_TIMEOUT: '1m',
      TIDEGATE_LISTEN: '127.0.0.1:9002',
      TIDEGATE_BUDGET: '5',
      TIDEGATE_WINDOW: '1h',
      TIDEGATE_WINDOW_KIND: 'fixed',
    };
    expect(mistakes({}, TWO)).toEqual([]);
    const found = mistakes(ambiguous, TWO);
    expect(found.map((text) => text.split(':')[0])).toEqual(Object.keys(ambiguous));
    expect(found[4]).toBe(
      'TIDEGATE_BUDGET: does not say which of the 2 upstreams in the file it is for. Allowed: unset it, and set it in the file, as upstreams[0].limits[0].budget',
    );
  });

  test('with several limits a variable of one is ambiguous', () => {
    const file = `upstreams: [{url: "${URL}", limits: [{name: a}, {name: b}]}]`;
    expect(mistakes({ TIDEGATE_BUDGET: '5', TIDEGATE_WINDOW: '1h' }, file)).toEqual([
      'TIDEGATE_BUDGET: does not say which of the 2 limits in the file it is for. Allowed: unset it, and change upstreams[0].limits in the file',
      'TIDEGATE_WINDOW: does not say which of the 2 limits in the file it is for. Allowed: unset it, and change upstreams[0].limits in the file',
    ]);
  });

  test("the plain keys of one upstream can't stand beside the list", () => {
    const file = `budget: 5\nupstream: ${URL}\nupstreams: [{url: "${URL}"}]`;
    expect(mistakes({}, file)).toEqual([
      'upstream (tidegate.yaml:2): cannot stand beside "upstreams". Allowed: inside the upstream it is for, as upstreams[0].url',
      'budget (tidegate.yaml:1): cannot stand beside "upstreams". Allowed: inside the upstream it is for, as upstreams[0].limits[0].budget',
    ]);
  });

  test('several upstreams each need a listener and a name of their own', () => {
    const file = `upstreams:\n  - url: ${URL}\n  - url: ${URL}\n`;
    expect(mistakes({}, file).map((text) => text.replace(/ Allowed.*/, ''))).toEqual([
      'upstreams[0].listen (tidegate.yaml:2): is missing; with several upstreams each needs a listener of its own.',
      'upstreams[1].listen (tidegate.yaml:3): is missing; with several upstreams each needs a listener of its own.',
      'upstreams[1].name (tidegate.yaml:3): "anthropic" is the name of upstreams[0].name (tidegate.yaml:2) too, and memory is kept under the name.',
    ]);
  });
});

describe('whatever the file holds', () => {
  /** Values that some settings take and others do not, and things that are no values. */
  const value = fc.oneof(
    {
      weight: 8,
      arbitrary: fc.constantFrom('1s', '5h', '3%', '0', '5', 'learn', 'a', 'b', 'fixed'),
    },
    { weight: 4, arbitrary: fc.constantFrom('127.0.0.1:0', 'https://a.example', 'file:./x', '') },
    { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 2 }) },
  );

  /** A group with some of the table's keys, and perhaps one of its own. */
  function group(
    table: object,
    lists: Readonly<Record<string, fc.Arbitrary<unknown>>> = {},
  ): fc.Arbitrary<unknown> {
    const keys = Object.fromEntries([...Object.keys(table), 'other'].map((key) => [key, value]));
    return fc.record({ ...keys, ...lists }, { requiredKeys: [] });
  }

  const limits = fc.array(group(LIMIT_SETTINGS), { maxLength: 10 });
  const scopes = fc.array(group(SCOPE_SETTINGS, { limits }), { maxLength: 4 });
  const upstreams = fc.array(group(UPSTREAM_SETTINGS, { limits, scopes }), { maxLength: 3 });

  test('it is a configuration, or every mistake in it reads as a sentence', () => {
    fc.assert(
      fc.property(group(SETTINGS, { upstreams }), (contents) => {
        const result = load({}, JSON.stringify(contents));
        if (result.ok) return;
        expect(result.problems.length).toBeGreaterThan(0);
        for (const problem of result.problems) {
          expect(problem.name).not.toBe('');
          expect(problem.allowed).not.toBe('');
          expect(formatProblem(problem)).not.toMatch(/undefined|\[object|NaN|\bnull is\b/);
        }
      }),
      { numRuns: 300 },
    );
  });

  test('bytes at random throw nothing', () => {
    const marks = fc.stringMatching(/^[\n:\-[\]{}&*!|>'"%@# a-c]{0,40}$/);
    fc.assert(
      fc.property(fc.oneof(marks, fc.string({ unit: 'binary' })), (text) => {
        const result = load({}, text);
        expect(result.ok || result.problems.length > 0).toBe(true);
      }),
      { numRuns: 1_000 },
    );
  });
});

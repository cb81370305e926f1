import { describe, expect, test } from 'vitest';
import { clash, isLoopback, leadsTo } from '../../src/config/addresses.js';
import { config, load, mistakes } from './load.js';

const URL_LINE = 'url: https://api.anthropic.com';
const TOKEN = { TIDEGATE_ADMIN_TOKEN: 'a-token-of-16-ch' };

describe('listeners', () => {
  test.each([
    ['127.0.0.1', '127.0.0.1', true],
    ['127.0.0.1', '127.0.0.2', false],
    ['127.0.0.1', 'localhost', true],
    ['::1', 'localhost', true],
    ['::1', '127.0.0.1', false],
    ['0.0.0.0', '127.0.0.1', true],
    ['0.0.0.0', '10.0.0.1', true],
    ['0.0.0.0', '::1', false],
    ['::', '0.0.0.0', true],
    ['::', '127.0.0.1', true],
    ['a.example', 'b.example', false],
  ])('%s and %s on one port clash: %s', (one, other, expected) => {
    expect(clash({ host: one, port: 80 }, { host: other, port: 80 })).toBe(expected);
    expect(clash({ host: other, port: 80 }, { host: one, port: 80 })).toBe(expected);
    expect(clash({ host: one, port: 80 }, { host: other, port: 81 })).toBe(false);
    expect(clash({ host: one, port: 0 }, { host: other, port: 0 })).toBe(false);
  });

  test('may all have port 0', () => {
    const env = { TIDEGATE_LISTEN: '127.0.0.1:0', TIDEGATE_ADMIN_LISTEN: '127.0.0.1:0' };
    expect(config(env).instance).toBe('box:0');
  });

  test('a clash with a default says so', () => {
    expect(mistakes({ TIDEGATE_LISTEN: '127.0.0.1:8788' })).toEqual([
      'TIDEGATE_ADMIN_LISTEN: "127.0.0.1:8788" (the default) clashes with TIDEGATE_LISTEN, which is 127.0.0.1:8788. Allowed: a port of its own for every listener',
    ]);
  });
});

describe('an upstream that is Tidegate itself', () => {
  test.each([
    ['http://127.0.0.1:8787', '127.0.0.1', true],
    ['http://localhost:8787/base', '127.0.0.1', true],
    ['http://[::1]:8787', 'localhost', true],
    ['http://127.0.0.1:8787', '0.0.0.0', true],
    ['http://0.0.0.0:8787', '127.0.0.1', true],
    ['http://127.0.0.1:8787', '::', true],
    ['http://10.0.0.1:8787', '10.0.0.1', true],
    // Behind 0.0.0.0 another machine's address and name are real upstreams.
    ['http://10.0.0.1:8787', '0.0.0.0', false],
    ['http://llm.example:8787', '0.0.0.0', false],
    ['http://0.0.0.0:8787', '10.0.0.1', false],
    ['http://127.0.0.1:8788', '127.0.0.1', false],
  ])('%s on %s: %s', (url, host, expected) => {
    expect(leadsTo(new URL(url), { host, port: 8787 })).toBe(expected);
  });

  test('default ports count', () => {
    expect(leadsTo(new URL('https://localhost'), { host: '127.0.0.1', port: 443 })).toBe(true);
    expect(leadsTo(new URL('http://localhost'), { host: '127.0.0.1', port: 80 })).toBe(true);
  });

  test.each(['http://localhost:8787', 'http://localhost:8788'])('%s is refused', (url) => {
    expect(mistakes({ TIDEGATE_UPSTREAM: url })).toEqual([
      expect.stringMatching(/^TIDEGATE_UPSTREAM: "http.*" leads back to Tidegate itself/),
    ]);
  });
});

describe('the control plane off loopback', () => {
  test.each([
    ['localhost', true],
    ['127.0.0.1', true],
    ['127.5.0.1', true],
    ['::1', true],
    ['0.0.0.0', false],
    ['::', false],
    ['10.0.0.1', false],
    ['127.example.com', false],
    ['localhost.example.com', false],
  ])('%s is loopback: %s', (host, expected) => {
    expect(isLoopback(host)).toBe(expected);
  });

  test('needs a token, and the message says why', () => {
    const open = { TIDEGATE_ADMIN_LISTEN: '0.0.0.0:8788' };
    expect(mistakes(open)).toEqual([
      'TIDEGATE_ADMIN_LISTEN: "0.0.0.0:8788" can be reached from other machines, and TIDEGATE_ADMIN_TOKEN is not set: an open control plane lets anyone clear cooldowns and reset budgets. Allowed: a loopback address; or any other together with TIDEGATE_ADMIN_TOKEN; example: 127.0.0.1:8788',
    ]);
    expect(mistakes({ ...open, ...TOKEN })).toEqual([]);
  });

  test('with a token that is refused, that is the one mistake', () => {
    const short = { TIDEGATE_ADMIN_LISTEN: '0.0.0.0:8788', TIDEGATE_ADMIN_TOKEN: 'short' };
    expect(mistakes(short)).toHaveLength(1);
  });
});

/** A file with one upstream and these lines under it. */
function upstream(...lines: readonly string[]): string {
  return ['upstreams:', `  - ${URL_LINE}`, ...lines.map((line) => `    ${line}`), ''].join('\n');
}

function manyScopes(count: number, first = 0): readonly string[] {
  return Array.from({ length: count }, (_, index) => {
    const team = `t${first + index}`;
    return `  - {name: ${team}, header: x-team, value: ${team}}`;
  });
}

describe('numbers', () => {
  test('64 scopes in all, the default scope among them', () => {
    expect(config({}, upstream('scopes:', ...manyScopes(63))).upstreams[0]?.scopes).toHaveLength(
      63,
    );
    expect(mistakes({}, upstream('scopes:', ...manyScopes(64)))).toEqual([
      'upstreams[0].scopes (tidegate.yaml:3): has 64 entries. Allowed: a list of 1 to 63 groups of settings, each beginning with "- "',
    ]);
  });

  test('64 scopes over several upstreams', () => {
    const file = (second: number): string =>
      [
        'upstreams:',
        `  - name: one\n    listen: 127.0.0.1:9000\n    ${URL_LINE}\n    scopes:`,
        ...manyScopes(31).map((line) => `    ${line}`),
        `  - name: two\n    listen: 127.0.0.1:9001\n    ${URL_LINE}\n    scopes:`,
        ...manyScopes(second).map((line) => `    ${line}`),
      ].join('\n');
    expect(mistakes({}, file(31))).toEqual([]);
    expect(mistakes({}, file(32))).toEqual([
      "upstreams: come to 65 scopes, each upstream's default scope included. Allowed: 64 scopes in all",
    ]);
  });

  test('8 limits', () => {
    const limits = (count: number): readonly string[] =>
      Array.from({ length: count }, (_, index) => `  - name: l${index}`);
    expect(mistakes({}, upstream('limits:', ...limits(8)))).toEqual([]);
    expect(mistakes({}, upstream('limits:', ...limits(9)))).toHaveLength(1);
    expect(mistakes({}, upstream('limits: []'))).toHaveLength(1);
  });
});

describe('names', () => {
  test('limits of one scope differ in name', () => {
    const file = upstream('limits: [{window: 5h}, {window: 7d}, {unit: requests}]');
    expect(mistakes({}, file)).toEqual([
      'upstreams[0].limits[1].name (tidegate.yaml:3): "tokens" is the name of upstreams[0].limits[0].name (tidegate.yaml:3) too, and memory is kept under the name. Allowed: a "name" that no other has',
    ]);
  });

  test('scopes differ in name, also where the upstream is not readable', () => {
    const scopes = [
      'scopes:',
      '  - {name: a, header: x, value: a}',
      '  - {name: a, header: x, value: b}',
    ];
    expect(mistakes({}, upstream(...scopes))).toEqual([
      expect.stringContaining('"anthropic/a" is the name of upstreams[0].scopes[0].name'),
    ]);
    expect(mistakes({}, upstream('name: NO', ...scopes))).toHaveLength(2);
  });

  test('an upstream and a scope of another may not come to the same name', () => {
    const file = `
upstreams:
  - {name: a/b, ${URL_LINE.replace('https', '"https')}", listen: "127.0.0.1:9000"}
  - name: a
    ${URL_LINE}
    listen: 127.0.0.1:9001
    scopes: [{name: b, header: x, value: y}]
`;
    expect(mistakes({}, file)).toEqual([expect.stringContaining('"a/b" is the name of')]);
  });

  test('scopes of upstreams whose names are wrong do not clash for that', () => {
    const wrong = (port: number) =>
      `  - {name: Wrong, ${URL_LINE}, listen: "127.0.0.1:${port}", scopes: [{name: a, header: x, value: y}]}\n`;
    const found = mistakes({}, `upstreams:\n${wrong(9000)}${wrong(9001)}`);
    expect(found).toHaveLength(2);
    for (const text of found) expect(text).toContain('"Wrong" is not a name');
  });

  test('upstream and scope together have 64 characters at most', () => {
    const file = (length: number): string =>
      upstream(
        `name: ${'u'.repeat(32)}`,
        `scopes: [{name: ${'s'.repeat(length)}, header: x, value: y}]`,
      );
    expect(mistakes({}, file(31))).toEqual([]);
    expect(mistakes({}, file(32))).toEqual([expect.stringContaining('is 65 characters long')]);
  });
});

describe('matches', () => {
  const KEY = 'fingerprintKey: a-key-of-16-char';

  test.each([
    ['{name: a}', 'does not say which requests it takes'],
    ['{name: a, header: x}', 'has a "header" without "value"'],
    ['{name: a, value: x}', 'has a "value" without "header"'],
    ['{name: a, header: x, value: y, keyFingerprint: 0123456789abcdef}', 'is matched in two ways'],
    ['{name: a, header: x, keyFingerprint: 0123456789abcdef}', 'is matched in two ways'],
    ['{name: a, organization: o, keyFingerprint: 0123456789abcdef}', 'is matched in two ways'],
  ])('%s %s', (scope, message) => {
    expect(mistakes({}, upstream(KEY, `scopes: [${scope}]`))).toEqual([
      `upstreams[0].scopes[0] (tidegate.yaml:4): ${message}. Allowed: either "header" and "value", or "keyFingerprint", or "organization"`,
    ]);
  });

  test('a fingerprint needs the key it was made with', () => {
    const scope = 'scopes: [{name: a, keyFingerprint: 0123456789abcdef}]';
    expect(mistakes({}, upstream(KEY, scope))).toEqual([]);
    expect(mistakes({}, upstream(scope))).toEqual([
      expect.stringContaining(
        'upstreams[0].scopes[0].keyFingerprint (tidegate.yaml:3): needs upstreams[0].fingerprintKey',
      ),
    ]);
  });

  test('a scope that none could reach is refused', () => {
    const file = upstream(
      'scopes:',
      '  - {name: a, header: X-Team, value: r}',
      '  - {name: b, header: x-team, value: r}',
    );
    expect(mistakes({}, file)).toEqual([expect.stringContaining('matches the same requests as')]);
    expect(mistakes({}, file.replace('value: r}\n\n', '').replace(/r}\n$/, 's}\n'))).toEqual([]);
  });

  test('a key pasted where its fingerprint belongs is not printed', () => {
    const secret = 'hunter2hunter2';
    const file = upstream(KEY, `scopes: [{name: a, keyFingerprint: ${secret}}]`);
    expect(mistakes({}, file)).toHaveLength(1);
    expect(mistakes({}, file).join()).not.toContain(secret);
  });
});

describe('the place of the state', () => {
  test.each([
    [
      'file:data',
      '"file:/home/op/data" names a directory; did you mean "file:/home/op/data/state.json"?',
    ],
    [
      'sqlite:./data',
      '"sqlite:/home/op/data" names a directory; did you mean "sqlite:/home/op/data/state.db"?',
    ],
    ['file:/dev/null', '"file:/dev/null" names a device, which keeps nothing.'],
  ])('%s', (text, message) => {
    expect(mistakes({ TIDEGATE_STATE: text })).toEqual([
      expect.stringContaining(`TIDEGATE_STATE: ${message} Allowed: `),
    ]);
    expect(mistakes({}, `state: ${text}`)).toEqual([
      expect.stringContaining(`state (tidegate.yaml:1): ${message} Allowed: `),
    ]);
  });
});

describe('warnings', () => {
  test.each([
    [{ TIDEGATE_MAX_RETRY_AFTER: '60s' }, 'above 59s some clients retry at once'],
    [
      { TIDEGATE_UPSTREAM: 'https://llm.example/api/v1' },
      'ends in /v1, which clients send themselves',
    ],
    [
      { TIDEGATE_UPSTREAM: 'https://llm.example/v1/messages' },
      'ends in /v1/messages, which clients send themselves',
    ],
    [{ TIDEGATE_UPSTREAM: 'http://llm.example' }, "http sends the agents' credentials"],
    [
      { TIDEGATE_STATE: 'postgres://u:hunter2@db/tide?sslmod=verify-full&application_name=a' },
      '"sslmod" is no parameter that is known, and likely to have no effect. Did you mean "sslmode"?',
    ],
    [
      { TIDEGATE_STATE: 'postgres://u:hunter2@db/tide?sslmode=verify-ful' },
      'sslmode "verify-ful" is not known, and taken for "verify-full". Did you mean "verify-full"?',
    ],
  ])('%j', (env, text) => {
    const result = load(env);
    expect(result.ok).toBe(true);
    expect(result.warnings).toEqual([expect.stringContaining(text)]);
    expect(result.warnings[0]).toContain(`${Object.keys(env)[0]}: `);
  });

  test('there are none about what is usual', () => {
    expect(load({ TIDEGATE_UPSTREAM: 'http://[::1]:4000/v1x' }).warnings).toEqual([]);
    expect(load({ TIDEGATE_UPSTREAM: 'https://gate.example/v1/a/b' }).warnings).toEqual([]);
    for (const mode of [
      'disable',
      'require',
      'verify-full&sslrootcert=/ca.pem',
      'no-verify',
      'x&sslmode=require',
    ]) {
      const state = `postgres://u@db/tide?sslmode=${mode}`;
      expect(load({ TIDEGATE_STATE: state }).warnings).toEqual([]);
    }
    expect(load({}).warnings).toEqual([]);
  });
});

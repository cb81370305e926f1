import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import { SETTINGS } from '../../src/config/settings.js';
import { config, load, mistakes, NO_FILES } from './load.js';

test('with nothing set it is the default configuration', () => {
  const { upstreams, ...rest } = config({});
  const [{ url, ...upstream } = {}] = upstreams;
  expect(url?.href).toBe('https://api.anthropic.com/');
  expect(upstream).toEqual({
    name: 'anthropic',
    proxy: null,
    dialect: 'anthropic',
    streamUsage: 'ask',
    cachedInput: 'counted',
    meteredPaths: [],
    inputTokensAt: null,
    outputTokensAt: null,
    listen: { host: '127.0.0.1', port: 8787 },
    timeoutMs: 900_000,
    fingerprintKey: null,
    defaultScope: {
      name: 'anthropic',
      limits: [
        {
          name: 'tokens',
          unit: 'tokens',
          kind: 'fixed',
          windowMs: 18_000_000,
          models: null,
          budget: null,
        },
      ],
    },
    scopes: [],
  });
  expect(upstreams).toHaveLength(1);
  expect(rest).toEqual({
    instance: 'box:8787',
    admin: { listen: { host: '127.0.0.1', port: 8788 }, token: null },
    state: { kind: 'file', path: '/home/op/data/state.json' },
    loss: { onCorrupt: 'cautious', onEmpty: 'trust' },
    mode: 'enforce',
    backoff: { ladderMs: [30_000, 60_000, 120_000, 240_000, 300_000], probeEveryMs: 3_600_000 },
    controller: { nudge: 0.03, nudgeEveryMs: 3_600_000, minTrafficMs: 3_600_000, minUsed: 0.05 },
    maxRetryAfterMs: 59_000,
    tickMs: 60_000,
    accessLog: null,
    drainMs: 30_000,
  });
});

test('every variable has its effect', () => {
  const set = {
    TIDEGATE_LISTEN: '[::1]:9000',
    TIDEGATE_UPSTREAM: 'http://127.0.0.1:4000/base/',
    TIDEGATE_DIALECT: 'anthropic',
    TIDEGATE_UPSTREAM_TIMEOUT: '100ms',
    TIDEGATE_ADMIN_LISTEN: '0.0.0.0:9001',
    TIDEGATE_ADMIN_TOKEN: 'a-token-of-16-ch',
    TIDEGATE_STATE: 'file:/var/lib/tidegate/state.json',
    TIDEGATE_ON_CORRUPT_STATE: 'refuse',
    TIDEGATE_ON_EMPTY_STATE: 'cautious',
    TIDEGATE_BUDGET: '1_000',
    TIDEGATE_WINDOW: '1s',
    TIDEGATE_WINDOW_KIND: 'fixed',
    TIDEGATE_MODE: 'observe',
    TIDEGATE_BACKOFF: '100ms',
    TIDEGATE_PROBE_EVERY: '0',
    TIDEGATE_MAX_RETRY_AFTER: '1s',
    TIDEGATE_TICK: '50ms',
    TIDEGATE_NUDGE: '50%',
    TIDEGATE_NUDGE_EVERY: '1s',
    TIDEGATE_MIN_TRAFFIC: '0',
    TIDEGATE_MIN_USED: '0%',
    TIDEGATE_DRAIN: '0s',
    TIDEGATE_ACCESS_LOG: '/var/log/tidegate/access.log',
    TIDEGATE_INSTANCE: 'gateway-1',
  };
  // Each of them differs from the default but for what this version has only one choice of.
  expect(Object.keys(set)).toEqual(Object.values(SETTINGS).map(({ env }) => env));
  const { upstreams, ...rest } = config(set);
  expect(upstreams[0]).toMatchObject({
    listen: { host: '::1', port: 9000 },
    timeoutMs: 100,
    defaultScope: { limits: [{ name: 'tokens', windowMs: 1_000, budget: 1_000, kind: 'fixed' }] },
  });
  expect(upstreams[0]?.url.href).toBe('http://127.0.0.1:4000/base');
  expect(rest).toEqual({
    instance: 'gateway-1',
    admin: { listen: { host: '0.0.0.0', port: 9001 }, token: 'a-token-of-16-ch' },
    state: { kind: 'file', path: '/var/lib/tidegate/state.json' },
    loss: { onCorrupt: 'refuse', onEmpty: 'cautious' },
    mode: 'observe',
    backoff: { ladderMs: [100], probeEveryMs: 0 },
    controller: { nudge: 0.5, nudgeEveryMs: 1_000, minTrafficMs: 0, minUsed: 0 },
    maxRetryAfterMs: 1_000,
    tickMs: 50,
    accessLog: '/var/log/tidegate/access.log',
    drainMs: 0,
  });
});

test('an empty variable counts as not set', () => {
  expect(config({ TIDEGATE_BUDGET: '', TIDEGATE_WINDOW: '  ' })).toEqual(config({}));
});

test('space around a value is ignored', () => {
  expect(config({ TIDEGATE_TICK: ' 5s\n' }).tickMs).toBe(5_000);
});

test('all mistakes are reported at once, each with value, what is allowed and an example', () => {
  const found = mistakes({
    TIDEGATE_WINDOW: '5 hours',
    TIDEGATE_NUDGE: '60%',
    TIDEGATE_STATE: 'postgres://tide:s3cret@db/',
    TIDEGATE_DIALECT: 'cohere',
  });
  expect(found).toEqual([
    'TIDEGATE_DIALECT: "cohere" is not known. Allowed: one of anthropic, openai, generic; example: anthropic',
    'TIDEGATE_STATE: "postgres://***@db/" names no database. Allowed: "file:" or "sqlite:" and the path of a file, relative to the working directory or absolute; or postgres://user:password@host:port/database; example: file:./data/state.json',
    'TIDEGATE_WINDOW: "5 hours" is not a duration; did you mean "5h"? Allowed: a whole number with ms, s, m, h or d, from 1s to 366d; example: 5h',
    'TIDEGATE_NUDGE: "60%" is more than 50%. Allowed: a percentage from 0.001% to 50%; example: 3%',
  ]);
});

test('a mistake of one setting hides none between others', () => {
  const found = mistakes({ TIDEGATE_TICK: 'soon', TIDEGATE_ADMIN_LISTEN: '127.0.0.1:8787' });
  expect(found).toHaveLength(2);
  expect(found[1]).toMatch(/^TIDEGATE_ADMIN_LISTEN: "127.0.0.1:8787" clashes with TIDEGATE_LISTEN/);
});

test.each([
  ['TIDEGATE_BUDGET', '"1000"'],
  ['TIDEGATE_STATE', "'file:./state.json'"],
  ['TIDEGATE_UPSTREAM', '"https://api.openai.com"'],
])('an env file that keeps the quotes is told of them: %s=%s', (name, value) => {
  expect(mistakes({ [name]: value }).join()).toContain(
    ' has quotes around it, which are a part of it here; leave them out. Allowed: ',
  );
});

test('what is too much is not offered as what was meant', () => {
  const found = ['4', '70', '0'].map((text) => mistakes({ TIDEGATE_NUDGE: text })[0]);
  expect(found[0]).toContain('"4" is not a percentage; did you mean "4%"?');
  for (const text of found.slice(1)) expect(text).toContain(' is not a percentage. Allowed');
});

test('a value is shown as far as it helps', () => {
  const [mistake] = mistakes({ TIDEGATE_BUDGET: 'x'.repeat(5000) });
  expect(mistake).toContain(`TIDEGATE_BUDGET: "${'x'.repeat(80)}…" is not a whole number.`);
});

describe('secrets', () => {
  const SECRET = 'hunter2hunter2';

  test.each([
    ['TIDEGATE_ADMIN_TOKEN', SECRET],
    ['TIDEGATE_ADMIN_TOKEN', `${SECRET} with spaces in it`],
    ['TIDEGATE_UPSTREAM', `https://user:${SECRET}@api.example.com`],
    ['TIDEGATE_UPSTREAM', `user:${SECRET}@api.example.com`],
    ['TIDEGATE_UPSTREAM', `https://${SECRET}@api.example.com:99999`],
    ['TIDEGATE_UPSTREAM', `https://api.example.com/?key=${SECRET}`],
    ['TIDEGATE_STATE', `postgres://user:${SECRET}@db/?password=${SECRET}`],
    ['TIDEGATE_LISTEN', `sk-ant-${SECRET}`],
    ['TIDEGATE_BUDGET', `Bearer ${SECRET}`],
    ['TIDEGATE_STATE', `"postgres://user:${SECRET}@db/tidegate"`],
    ['TIDEGATE_STATE', `//user:${SECRET}@db/tidegate`],
    ['TIDEGATE_STATE', `/user:${SECRET}@db/tidegate`],
    ['TIDEGATE_BACKOFF', `sk-ant-${SECRET}`],
    ['TIDEGATE_BACKOFF', `30s,Bearer ${SECRET}`],
  ])('%s=%s is refused without being printed', (name, value) => {
    const result = load({ [name]: value });
    expect(result.ok).toBe(false);
    expect(JSON.stringify(result)).not.toContain(SECRET);
    expect(JSON.stringify(result)).toContain(name);
  });

  test.each([
    'replace-me-with-openssl-rand-hex-24',
    'REPLACE_ME_WITH_A_TOKEN',
    'changeme-changeme',
    'change-this-to-a-secret',
    'your-admin-token',
    '<your-admin-token>',
    '${TIDEGATE_ADMIN_TOKEN}',
    '$(openssl-rand-hex-24)',
    '{{ADMIN_TOKEN_OF_TIDEGATE}}',
    'REPLACE_WITH_A_LONG_SECRET',
    'xxxxxxxxxxxxxxxxxxxxxxxx',
    'changemechangeme',
    'replacemewithasecret1',
    'your-password-goes-here',
  ])('are no placeholders: %s', (placeholder) => {
    expect(mistakes({ TIDEGATE_ADMIN_TOKEN: placeholder })).toEqual([
      'TIDEGATE_ADMIN_TOKEN: the value (not shown) is a placeholder, and no secret. ' +
        'Allowed: 16 to 256 visible ASCII characters, no spaces; example: what "openssl rand -hex 24" prints',
    ]);
    const within = `a${placeholder}`;
    expect(config({ TIDEGATE_ADMIN_TOKEN: within }).admin.token).toBe(within);
  });

  test.each(['changement-de-saison-9f8a', 'your-team-9f8a77c1d0e2', 'example-corp-77c1d0e29f8a'])(
    'may begin like a placeholder: %s',
    (token) => expect(config({ TIDEGATE_ADMIN_TOKEN: token }).admin.token).toBe(token),
  );

  test('no token of any shape ever shows in what is said about it', () => {
    const token = fc.stringMatching(/^[!-~]{8,15}$/);
    fc.assert(
      fc.property(token, (anyToken) => {
        const found = mistakes({ TIDEGATE_ADMIN_TOKEN: anyToken });
        expect(found).toEqual([
          'TIDEGATE_ADMIN_TOKEN: the value (not shown) is shorter than 16 characters. ' +
            'Allowed: 16 to 256 visible ASCII characters, no spaces; example: what "openssl rand -hex 24" prints',
        ]);
      }),
    );
  });
});

describe('unknown variables', () => {
  function warnings(env: Readonly<Record<string, string>>): readonly string[] {
    const result = load(env);
    expect(result.ok).toBe(true);
    return result.warnings;
  }

  test.each([
    ['TIDEGATE_LISTN', ' Did you mean TIDEGATE_LISTEN?'],
    ['TIDEGATE_TOKEN', ' Did you mean TIDEGATE_ADMIN_TOKEN?'],
    ['TIDEGATE_BUDGETS', ' Did you mean TIDEGATE_BUDGET?'],
    ['TIDEGATE_LISTEN_ADDRESS', ' Did you mean TIDEGATE_LISTEN?'],
    ['TIDEGATE_CONFIG_FILE', ' Did you mean TIDEGATE_CONFIG?'],
    ['TIDEGATE_XYZZY', ' All there are: docs/reference/configuration.md.'],
    ['TIDEGATE_', ' All there are: docs/reference/configuration.md.'],
  ])('%s is a warning.%s', (name, hint) => {
    expect(warnings({ [name]: 'x' })).toEqual([
      `${name}: is not a setting of this version and has no effect.${hint}`,
    ]);
  });

  test('those of tests, of other programs and of Kubernetes are none of ours', () => {
    const env = {
      TIDEGATE_TEST_SEED: '1',
      TIDEGATED: 'x',
      HOME: '/root',
      TIDEGATE_SERVICE_HOST: '10.0.0.1',
      TIDEGATE_SERVICE_PORT: '8787',
      TIDEGATE_SERVICE_PORT_PROXY: '8787',
      TIDEGATE_CONTROL_SERVICE_HOST: '10.0.0.1',
      TIDEGATE_PORT: 'tcp://10.0.0.1:8787',
      TIDEGATE_PORT_8787_TCP: 'tcp://10.0.0.1:8787',
      TIDEGATE_PORT_8787_TCP_ADDR: '10.0.0.1',
    };
    expect(warnings(env)).toEqual([]);
    expect(warnings({ TIDEGATE_PORT: '8787' })).toHaveLength(1);
  });
});

test.each([
  ['box.local', 'box.local:8787'],
  ['Jörg’s Mac', 'J-rg-s-Mac:8787'],
  ['-_', 'host:8787'],
  ['h'.repeat(300), `${'h'.repeat(100)}:8787`],
])('the host name %s makes the instance %s', (hostname, instance) => {
  const result = loadConfig({}, '/home/op', { ...NO_FILES, hostname });
  expect(result.ok && result.config.instance).toBe(instance);
});

test('the configuration is frozen all through', () => {
  const parts: unknown[] = [config({ TIDEGATE_BACKOFF: '1s,2s' })];
  let seen = 0;
  while (parts.length > 0) {
    const part = parts.pop();
    if (typeof part !== 'object' || part === null) continue;
    expect(Object.isFrozen(part)).toBe(true);
    seen += 1;
    parts.push(...Object.values(part));
  }
  expect(seen).toBeGreaterThan(10);
});

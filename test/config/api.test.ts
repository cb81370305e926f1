import { describe, expect, test } from 'vitest';
import { describeConfig } from '../../src/config/describe.js';
import { config, mistakes, type Env } from './load.js';

const first = (env: Env, file?: string) => config(env, file).upstreams[0]!;

describe('what speaks which dialect', () => {
  test.each([
    ['https://api.anthropic.com', 'anthropic', 'ask', 'counted'],
    ['https://llm.example.com', 'anthropic', 'ask', 'counted'],
    ['https://api.openai.com', 'openai', 'ask', 'counted'],
    ['https://eu.api.openai.com', 'openai', 'ask', 'counted'],
    ['https://tide.openai.azure.com', 'openai', 'ask', 'counted'],
    ['https://tide.services.ai.azure.com', 'openai', 'ask', 'counted'],
    ['https://generativelanguage.googleapis.com/v1beta/openai', 'openai', 'ask', 'counted'],
    ['https://api.groq.com/openai', 'openai', 'ask', 'free'],
    ['https://api.mistral.ai', 'openai', 'leave', 'counted'],
    ['https://openrouter.ai/api', 'openai', 'leave', 'counted'],
    // Somebody else's host, whatever it is called.
    ['https://api.openai.com.example.com', 'anthropic', 'ask', 'counted'],
    ['https://notapi.openai.com', 'anthropic', 'ask', 'counted'],
  ])('%s: %s, %s, %s', (url, dialect, streamUsage, cachedInput) => {
    expect(first({ TIDEGATE_UPSTREAM: url })).toMatchObject({ dialect, streamUsage, cachedInput });
  });

  test('what is given wins over the host', () => {
    const told = { TIDEGATE_UPSTREAM: 'https://api.openai.com', TIDEGATE_DIALECT: 'generic' };
    expect(first(told).dialect).toBe('generic');
    const file = `
upstreams:
  - url: https://api.mistral.ai
    streamUsage: ask
    cachedInput: free
`;
    expect(first({}, file)).toMatchObject({ streamUsage: 'ask', cachedInput: 'free' });
  });
});

describe('a generic API', () => {
  const file = (lines: string) => `
upstreams:
  - url: https://search.example.com
    dialect: generic
${lines}`;

  test('is limited by requests where nothing says what they cost', () => {
    const env = {
      TIDEGATE_DIALECT: 'generic',
      TIDEGATE_BUDGET: '1000',
      TIDEGATE_WINDOW: '1h',
      TIDEGATE_UPSTREAM: 'https://search.example.com',
    };
    expect(first(env).defaultScope).toEqual({
      name: 'generic',
      limits: [
        {
          name: 'requests',
          unit: 'requests',
          kind: 'fixed',
          windowMs: 3_600_000,
          models: null,
          budget: 1000,
        },
      ],
    });
  });

  test('is limited by tokens, unless told otherwise, where it states them', () => {
    const lines = `
    meteredPaths: [/v1/search, /v1/*/run]
    inputTokensAt: usage.total_tokens
    limits: [{window: 1m, budget: 5}, {unit: requests, window: 1m, budget: 5}]
`;
    const upstream = first({}, file(lines));
    expect(upstream).toMatchObject({
      meteredPaths: ['/v1/search', '/v1/*/run'],
      inputTokensAt: 'usage.total_tokens',
      outputTokensAt: null,
    });
    expect(upstream.defaultScope.limits.map(({ name, unit }) => [name, unit])).toEqual([
      ['tokens', 'tokens'],
      ['requests', 'requests'],
    ]);
  });

  test('has no tokens to count without a path to them', () => {
    const lines = `
    limits: [{unit: tokens, budget: 5}]
    scopes: [{name: a, header: x-team, value: b, limits: [{unit: output_tokens}]}]
`;
    expect(mistakes({}, file(lines))).toEqual([
      'upstreams[0].limits[0].unit (tidegate.yaml:6): "tokens" cannot be counted: nothing says where this API states tokens. Allowed: requests; or any, together with "inputTokensAt" or "outputTokensAt"; example: requests',
      'upstreams[0].scopes[0].limits[0].unit (tidegate.yaml:7): "output_tokens" cannot be counted: nothing says where this API states tokens. Allowed: requests; or any, together with "inputTokensAt" or "outputTokensAt"; example: requests',
    ]);
  });

  test('names no organization', () => {
    const lines = `
    fingerprintKey: a-key-of-16-char
    scopes: [{name: a, organization: org-1}]
`;
    expect(mistakes({}, file(lines))).toEqual([
      expect.stringContaining('answers of a generic API name no organization'),
    ]);
  });

  test('paths that cannot be read are mistakes', () => {
    const lines = `
    meteredPaths: v1/search
    inputTokensAt: usage..tokens
    outputTokensAt: "$.usage[*]"
`;
    expect(mistakes({}, file(lines))).toEqual([
      expect.stringContaining('no path: "v1/search"; a path begins with "/"'),
      expect.stringContaining('"usage..tokens" is not a path in JSON'),
      expect.stringContaining('"$.usage[*]" is not a path in JSON'),
    ]);
  });
});

test('a setting of another dialect is a mistake: it would do nothing', () => {
  const file = `
upstreams:
  - url: https://api.openai.com
    meteredPaths: /v1/search
  - url: https://api.anthropic.com
    listen: 127.0.0.1:8790
    streamUsage: leave
`;
  const found = mistakes({}, file);
  expect(found).toContainEqual(
    expect.stringContaining(
      'has no effect: it is for the dialect "generic", and this upstream speaks "openai"',
    ),
  );
  expect(found).toContainEqual(
    expect.stringContaining(
      'has no effect: it is for the dialect "openai", and this upstream speaks "anthropic"',
    ),
  );
});

test('the dialect is shown with what it was told', () => {
  const shown = (env: Env, file?: string) => describeConfig(config(env, file));
  expect(shown({ TIDEGATE_UPSTREAM: 'https://api.groq.com/openai' })).toContain(
    'dialect         openai: asks streams for their usage, cached input is free\n',
  );
  expect(shown({ TIDEGATE_DIALECT: 'generic' })).toContain(
    'dialect         generic: meters every path\n',
  );
});

test('a path to tokens that is wrong is one mistake, and not also that there is none', () => {
  const found = mistakes(
    {},
    'upstreams: [{url: "https://a.example", dialect: generic, inputTokensAt: a..b, limits: [{unit: tokens}]}]',
  );
  expect(found).toEqual([expect.stringContaining('"a..b" is not a path in JSON')]);
});

test('lists of paths and of models are bounded', () => {
  const file = (count: number) => `
upstreams:
  - url: https://search.example.com
    dialect: generic
    meteredPaths: ${Array(2 * count)
      .fill('/a')
      .join()}
    limits: [{models: [${Array(count).fill('m').join()}]}]
`;
  expect(mistakes({}, file(16))).toEqual([]);
  expect(mistakes({}, file(17))).toEqual([
    expect.stringMatching(/^upstreams\[0\]\.meteredPaths .* has 34 paths\. Allowed: 1 to 32 /),
    expect.stringMatching(
      /^upstreams\[0\]\.limits\[0\]\.models .* has 17 names\. Allowed: 1 to 16 /,
    ),
  ]);
});

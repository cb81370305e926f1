import { expect, test } from 'vitest';
import { describeConfig, publicConfig } from '../../src/config/describe.js';
import { FILLED_EXAMPLE_FILE } from './reference.js';
import { storeName } from '../../src/config/state-store.js';
import { config } from './load.js';

test('the default configuration, for people', () => {
  expect(describeConfig(config({}))).toBe(`\
upstream          anthropic
  proxy           http://127.0.0.1:8787 -> https://api.anthropic.com
  dialect         anthropic
  answer within   15m
  scope           anthropic: every request
    limit         tokens: learns how many tokens fit into a fixed window of 5h
control plane     http://127.0.0.1:8788, no token
state             file:/home/op/data/state.json
  if unreadable   cautious
  if empty        trust
mode              enforce
backoff           30s, 1m, 2m, 4m, 5m
  probe           every 1h during what lasts longer than that
  retry-after     at most 59s
controller        +3% at most every 1h, once traffic began 1h ago and 5% of the budget is used
job               every 1m
drain             30s after SIGTERM
instance          box:8787
`);
});

test('scopes, limits and budgets, for people', () => {
  expect(describeConfig(config({}, FILLED_EXAMPLE_FILE))).toContain(`\
upstream          keys
  proxy           http://[::1]:8789 -> https://api.anthropic.com
  dialect         anthropic
  answer within   10m
  scope           keys/research: header x-team: research
    limit         input_tokens: 400_000 input_tokens in a fixed window of 1m
    limit         requests: 50 requests in a fixed window of 1m
  scope           keys/batch: the key with fingerprint 3f2a9c0d5b7e1846
    limit         requests: 5 requests in a fixed window of 1m
  scope           keys: every request that no other scope takes
    limit         input_tokens: 400_000 input_tokens in a fixed window of 1m
    limit         requests: 50 requests in a fixed window of 1m
control plane     http://0.0.0.0:8788, token needed
`);
});

test('neither form has a secret in it, and both keep a base path', () => {
  const secret = 'hunter2hunter2hunter2';
  const file = `
adminToken: ${secret}
upstreams:
  - url: https://api.anthropic.com/base/
    fingerprintKey: ${secret}
    scopes: [{name: a, header: x-gateway-token, value: ${secret}}]
`;
  const loaded = config({}, file);
  const texts = [describeConfig(loaded), JSON.stringify(publicConfig(loaded))];
  expect(JSON.stringify(loaded)).toContain(secret);
  for (const text of texts) {
    expect(text).not.toContain(secret);
    expect(text).toContain('https://api.anthropic.com/base');
    expect(text).toContain('(hidden)');
  }
});

test.each([
  'x-access-key',
  'x-client-auth',
  'x-first-cookie',
  'x-gateway-token',
  'x-passphrase',
  'x-session-id',
  'x-shared-secret',
  'x-user-credential',
])('the value of a header called %s is not shown', (header) => {
  const file = `
upstreams:
  - url: https://api.anthropic.com
    scopes: [{name: a, header: ${header}, value: hunter2}]
`;
  const loaded = config({}, file);
  for (const text of [describeConfig(loaded), JSON.stringify(publicConfig(loaded))]) {
    expect(text).toContain(header);
    expect(text).not.toContain('hunter2');
  }
});

test('observe and the absence of probes are said in words', () => {
  const text = describeConfig(config({ TIDEGATE_MODE: 'observe', TIDEGATE_PROBE_EVERY: '0' }));
  expect(text).toContain('observe: nothing is refused');
  expect(text).toContain('only when a cooldown ends');
});

test.each([
  ['postgres://tide:hunter2@db:5432/tide', 'postgres://tide:***@db:5432/tide'],
  ['postgres://db/tide?user=tide&password=hunter2', 'postgres://db/tide?user=tide'],
  [
    'postgres://db/tide?sslmode=require&options=-c%20search_path%3Dtide',
    'postgres://db/tide?options=-c+search_path%3Dtide',
  ],
  ['postgres://db/tide?options=-c search_path=a -c x.key=hunter2', 'postgres://db/tide'],
  ['postgresql://tide@%2Fvar%2Frun/tide', 'postgresql://tide@%2Fvar%2Frun/tide'],
])('of the store %s a person sees %s', (url, shown) => {
  const state = { kind: 'postgres', url } as const;
  expect(storeName(state)).toBe(shown);
  const loaded = { ...config({}), state };
  for (const text of [describeConfig(loaded), JSON.stringify(publicConfig(loaded))]) {
    expect(text).toContain(shown);
    expect(text).not.toContain('hunter2');
  }
});

test('of a store with a path a person sees the path', () => {
  const loaded = config({ TIDEGATE_STATE: 'sqlite:data/state.db' });
  expect(describeConfig(loaded)).toContain('\nstate             sqlite:/home/op/data/state.db\n');
});

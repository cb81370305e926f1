import { readFileSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { BOUNDS } from '../../src/state/scope-state.js';
import { FakeUpstream, jsonMessage, messageText, refusal } from '../support/fake-upstream.js';
import { TemporaryDirectory } from '../support/temporary-directory.js';
import { TidegateProcess } from '../support/tidegate-process.js';
import { until } from '../support/until.js';

let directory: TemporaryDirectory;
let upstream: FakeUpstream;
let gate: TidegateProcess;

beforeEach(async () => {
  directory = new TemporaryDirectory();
  upstream = await FakeUpstream.open(jsonMessage({ input: 60, output: 40 }));
});

afterEach(async () => {
  await gate.kill();
  await upstream.close();
  directory.dispose();
});

async function start(scopes: string): Promise<void> {
  const file = directory.at('tidegate.yaml');
  writeFileSync(
    file,
    `upstreams:\n  - name: api\n    url: ${upstream.url}\n    listen: 127.0.0.1:0\n` +
      `    fingerprintKey: a-key-of-16-char\n    scopes: ${scopes}\n`,
  );
  const state = `file:${directory.at('state.json')}`;
  gate = await TidegateProcess.start({ TIDEGATE_CONFIG: file, TIDEGATE_STATE: state });
}

const call = (headers: Readonly<Record<string, string>>) =>
  gate.call({}, { headers: { 'content-type': 'application/json', ...headers } });

async function states(): Promise<Record<string, string>> {
  const { scopes } = await gate.status();
  return Object.fromEntries(scopes.map(({ scope, state }) => [scope, state]));
}

it('a cooldown of one scope leaves the others alone', async () => {
  await start('[{name: blue, header: x-team, value: blue}]');
  upstream.answer = refusal({ 'retry-after': '3000' });
  await call({ 'x-team': 'blue' });
  upstream.answer = jsonMessage();
  expect((await call({ 'x-team': 'blue' })).headers.get('tidegate-decision')).toBe('cooldown');
  expect((await call({ 'x-team': 'red' })).status).toBe(200);
  expect(await states()).toEqual({ api: 'open', 'api/blue': 'cooldown' });
});

it('a credential’s organization is known from its first answer on, restarts included', async () => {
  upstream.answer = (request, response) => {
    const key = String(request.headers['x-api-key']);
    response.setHeader('anthropic-organization-id', key.includes('corp') ? 'org-1' : 'org-2');
    response.end(messageText({}));
  };
  await start('[{name: corp, organization: org-1}]');
  const admitted = async () => {
    const { scopes } = await gate.status();
    return scopes.map(({ local }) => local.admitted);
  };
  await (await call({ 'x-api-key': 'sk-corp' })).text();
  await until(async () => {
    await (await call({ 'x-api-key': 'sk-corp' })).text();
    return (await admitted())[1]! > 0;
  });
  await (await call({ 'x-api-key': 'sk-other' })).text();
  await (await call({ 'x-api-key': 'sk-other' })).text();
  const before = await admitted();
  await gate.kill();
  await start('[{name: corp, organization: org-1}]');
  await (await call({ 'x-api-key': 'sk-corp' })).text();
  expect(await admitted()).toEqual([before[0], before[1]! + 1]);
});

it('keeps no more of an organization’s id than an id has', async () => {
  upstream.answer = (_request, response) => {
    response.setHeader('anthropic-organization-id', `org-${'o'.repeat(5_000)}`);
    response.end(messageText({}));
  };
  await start('[{name: corp, organization: org-1}]');
  await (await call({ 'x-api-key': 'sk-corp' })).text();
  expect((await gate.stop()).code).toBe(0);
  const { organizations } = JSON.parse(readFileSync(directory.at('state.json'), 'utf8')).scopes.api
    .cold;
  expect(Object.values(organizations)).toEqual([`org-${'o'.repeat(96)}`]);
});

it('many credentials share one memory, and what is kept of them has a bound', async () => {
  upstream.answer = (request, response) => {
    const key = String(request.headers['x-api-key']);
    response.setHeader('anthropic-organization-id', `org-of-${key.slice(7)}`);
    response.end(messageText({}));
  };
  await start('[{name: corp, organization: org-1}]');
  const keys = Array.from({ length: BOUNDS.keys + 50 }, (_, index) => `sk-ant-${index}`);
  for (const key of keys) await (await call({ 'x-api-key': key })).text();
  upstream.answer = refusal({ 'retry-after': '3000' });
  await (await call({ 'x-api-key': 'sk-ant-first-of-all' })).text();
  const fresh = await call({ 'x-api-key': 'sk-ant-never-seen' });
  expect(fresh.headers.get('tidegate-decision'), 'a new key finds no empty memory').toBe(
    'cooldown',
  );
  expect(await states()).toEqual({ api: 'cooldown', 'api/corp': 'open' });
  expect((await gate.stop()).code).toBe(0);
  const state = readFileSync(directory.at('state.json'), 'utf8');
  const { organizations } = JSON.parse(state).scopes.api.cold;
  expect(Object.keys(organizations)).toHaveLength(BOUNDS.keys);
  expect(state).not.toContain('sk-ant');
});

import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CATALOGUE } from '../../src/metrics/catalogue.js';
import { DOCUMENT, renderReference } from '../metrics/reference.js';
import { expressionsOfDashboard, expressionsOfRules } from '../metrics/ops-files.js';
import { jsonMessage, refusal, type Answer } from '../support/fake-upstream.js';
import { Gateway } from '../support/gateway.js';
import { Scrape } from '../support/prometheus-text.js';
import { readQuery, unknownIn } from '../support/promql.js';
import { until } from '../support/until.js';

/**
 * One real process is driven through what its metrics tell of, killed, and started again. Most tests read
 * the two scrapes that this leaves: the killed run's last, and the next run's first.
 */
const TOKEN = 'an-admin-token-of-32-characters-';
const KEY = 'sk-ant-api03-never-to-be-seen';
const LOGIN = 'oauth-token-never-to-be-seen';
const MODEL = 'model-never-to-be-seen';
const SECRETS = [TOKEN, KEY, LOGIN, MODEL, 'session-never-to-be-seen', 'prompt-never-to-be-seen'];

const gateway = new Gateway();
const ENVIRONMENT = { TIDEGATE_BUDGET: '10000', TIDEGATE_ADMIN_TOKEN: TOKEN, TIDEGATE_TICK: '1s' };
/** Metrics of Node itself, by the library. */
const OF_NODE = /^(process|nodejs)_/;

let text = '';
let scrape: Scrape;
let next: Scrape;

const ask = (path: string, authorization = `Bearer ${TOKEN}`, method = 'GET') =>
  fetch(`${gateway.tidegate.controlUrl}${path}`, { method, headers: { authorization } });

async function scrapeNow(): Promise<Scrape> {
  const response = await ask('/metrics');
  text = await response.text();
  expect(response.status, text).toBe(200);
  return new Scrape(text);
}

async function call(answer: Answer): Promise<number> {
  gateway.upstream.answer = answer;
  const response = await gateway.tidegate.call(
    { model: MODEL, messages: [{ role: 'user', content: 'prompt-never-to-be-seen' }] },
    {
      headers: {
        'content-type': 'application/json',
        'x-api-key': KEY,
        authorization: `Bearer ${LOGIN}`,
        'x-claude-code-session-id': 'session-never-to-be-seen',
      },
    },
  );
  await response.arrayBuffer();
  return response.status;
}

const answer =
  (status: number, headers: Readonly<Record<string, string>> = {}): Answer =>
  (_request, response) =>
    void response.writeHead(status, headers).end();

const clear = async () =>
  expect((await ask('/cooldown/clear', undefined, 'POST')).status).toBe(200);

beforeAll(async () => {
  await gateway.open(ENVIRONMENT);
  expect(await call(jsonMessage({ input: 600, output: 400 }))).toBe(200);
  for (const status of [204, 404]) {
    gateway.upstream.answer = answer(status);
    expect((await fetch(`${gateway.tidegate.proxyUrl}/v1/models`)).status).toBe(status);
  }
  expect(await call(answer(529, { 'retry-after': '60' }))).toBe(529);
  expect(await call(jsonMessage()), 'held back').toBe(529);
  await clear();
  expect(await call(refusal({ 'retry-after': '3000' }))).toBe(429);
  for (let again = 0; again < 3; again += 1) expect(await call(jsonMessage())).toBe(429);
  await until(async () => (await scrapeNow()).value(SAMPLES, { outcome: 'discarded' }) === 1);
  await clear();
  expect(await call(jsonMessage({ input: 2_000, output: 500 }))).toBe(200);
  await until(async () => (await scrapeNow()).value('tidegate_limit_used') === 3_500);
  expect(await call(refusal({ 'retry-after': '3000' }))).toBe(429);
  await until(async () => (await scrapeNow()).value(SAMPLES, { outcome: 'accepted' }) === 1);
  await clear();
  // What was learned left less of a budget than is used.
  expect(await call(jsonMessage())).toBe(429);
  await until(async () => (await scrapeNow()).named(NUDGES).some(({ value }) => value > 0));
  scrape = await scrapeNow();
  await gateway.tidegate.kill();
  await gateway.start({ ...ENVIRONMENT, TIDEGATE_TICK: '1h' });
  next = await scrapeNow();
});

afterAll(() => gateway.close());

const SAMPLES = 'tidegate_scope_samples_total';
const NUDGES = 'tidegate_nudges_total';

describe('GET /metrics', () => {
  it('is the text format that Prometheus reads', async () => {
    const response = await ask('/metrics');
    expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    // The reader throws at whatever Prometheus would not take, twins included.
    expect(new Scrape(await response.text()).families.size).toBeGreaterThan(50);
  });

  it('needs the token, like /status', async () => {
    for (const authorization of ['', 'Bearer wrong', `Basic ${TOKEN}`]) {
      const response = await ask('/metrics', authorization);
      expect(response.status).toBe(401);
      expect(await response.text()).not.toContain('tidegate_');
    }
  });

  it('has exactly the metrics of the catalogue, each with its type and its labels', () => {
    const own = [...scrape.families.values()].filter(({ name }) => !OF_NODE.test(name));
    const told = CATALOGUE.flatMap(([, metrics]) => metrics);
    expect(own.map(({ name, type }) => `${name} ${type}`)).toEqual(
      told.map(({ name, type }) => `${name} ${type}`),
    );
    for (const { name, type, labels } of told) {
      for (const series of scrape.families.get(name)!.series) {
        const named = Object.keys(series.labels).filter((label) => label !== 'le');
        expect(named, name).toEqual(labels);
        if (type === 'counter') expect(series.value, name).toBeGreaterThanOrEqual(0);
      }
    }
    // Every metric has a series, so that whatever is asked of one can be checked against it.
    const empty = told.filter(({ name }) => scrape.families.get(name)!.series.length === 0);
    expect(empty.map(({ name }) => name)).toEqual([]);
  });

  it('follows the naming rules of Prometheus, and tells the state’s figures apart', () => {
    for (const { name, type, origin, help } of CATALOGUE.flatMap(([, metrics]) => metrics)) {
      expect(name).toMatch(/^tidegate(_[a-z0-9]+)+$/);
      expect(name.endsWith('_total'), name).toBe(type === 'counter');
      if (type === 'histogram') expect(name).toMatch(/_seconds$/);
      expect(name).not.toMatch(/_(ms|milliseconds|count|sum|bucket)$/);
      expect(/^tidegate_(scope|limit)_/.test(name), name).toBe(origin === 'state');
      expect(help, name).toMatch(/^[A-Z1].*[^.]$/);
    }
  });

  it('never tells a credential, a model, a session or a prompt', () => {
    for (const secret of SECRETS) expect(text).not.toContain(secret);
    expect(gateway.upstream.seen.some(({ headers }) => headers['x-api-key'] === KEY)).toBe(true);
  });

  it('writes nothing', async () => {
    const durable = async () => (await scrapeNow()).value('tidegate_store_update_seconds_count')!;
    const before = await durable();
    for (let again = 0; again < 5; again += 1) await scrapeNow();
    expect(await durable()).toBe(before);
    await clear();
    expect(await durable(), 'the check itself: this does write').toBe(before + 1);
  });

  it('answers many scrapes at once, each with a whole text of one moment', async () => {
    const texts = await Promise.all(
      Array.from({ length: 20 }, async () => (await ask('/metrics')).text()),
    );
    for (const one of texts) {
      const { families } = new Scrape(one);
      expect(families.get('tidegate_scope_state')!.series).toHaveLength(6);
      expect(one.endsWith('\n')).toBe(true);
    }
  });
});

describe('the metrics', () => {
  it('count what was let through and what was refused, by decision', () => {
    expect(scrape.value('tidegate_admissions_total')).toBe(5);
    const refused = (decision: string) =>
      scrape.value('tidegate_refusals_total', { scope: 'anthropic', decision });
    expect({
      cooldown: refused('cooldown'),
      budget: refused('budget'),
      overload: refused('overload'),
      probing: refused('probing'),
    }).toEqual({ cooldown: 3, budget: 1, overload: 1, probing: 0 });
  });

  it('count what the upstream answered, metered and not', () => {
    const answered = (metered: string) =>
      Object.fromEntries(
        scrape
          .named('tidegate_upstream_answers_total')
          .filter(({ labels, value }) => labels['metered'] === metered && value > 0)
          .map(({ labels, value }) => [labels['class'], value]),
      );
    expect(answered('true')).toEqual({ '2xx': 2, '429': 2, '529': 1 });
    expect(answered('false')).toEqual({ '2xx': 1, '4xx': 1 });
  });

  it('tell how the scope stands', () => {
    const present = (name: string) =>
      scrape.named(name).flatMap(({ labels, value }) => (value === 1 ? [labels] : []));
    expect(present('tidegate_scope_state')).toEqual([{ scope: 'anthropic', state: 'exhausted' }]);
    expect(present('tidegate_scope_cooldown')).toEqual([]);
    expect(scrape.value('tidegate_scope_blocked_until_timestamp_seconds')).toBe(
      scrape.value('tidegate_limit_window_end_timestamp_seconds'),
    );
    expect(scrape.value('tidegate_scope_episodes_total')).toBe(2);
    expect(scrape.value('tidegate_scope_samples_kept', { outcome: 'below-floor' })).toBe(1);
    expect(scrape.value('tidegate_scope_samples_kept', { outcome: 'accepted' })).toBe(1);
    expect(scrape.value('tidegate_limit_learned')).toBe(3_500);
    expect(scrape.value('tidegate_limit_budget')).toBe(3_395);
  });

  it('time every admission, every first byte that was not judged, and the store', () => {
    const value: Scrape['value'] = (name, labels) => scrape.value(name, labels);
    expect(value('tidegate_admission_seconds_count', { outcome: 'admitted' })).toBe(5);
    expect(value('tidegate_admission_seconds_count', { outcome: 'refused' })).toBe(5);
    expect(value('tidegate_first_byte_added_seconds_count')).toBe(2);
    expect(value('tidegate_store_update_seconds_count')).toBeGreaterThanOrEqual(8);
    for (const name of ['tidegate_admission_seconds', 'tidegate_store_update_seconds']) {
      const buckets = scrape.named(`${name}_bucket`).map((series) => series.value);
      expect(buckets.at(-1)).toBeGreaterThan(0);
      expect(scrape.named(`${name}_sum`)[0]!.value).toBeGreaterThan(0);
    }
  });

  it('tell the same as /status', async () => {
    const now = await scrapeNow();
    const status = (await (await ask('/status')).json()) as Awaited<
      ReturnType<typeof gateway.tidegate.status>
    >;
    const [scope] = status.scopes;
    const [limit] = scope!.limits;
    expect(now.value('tidegate_scope_state', { state: scope!.state })).toBe(1);
    expect(now.value('tidegate_limit_used')).toBe(limit!.used);
    expect(now.value('tidegate_limit_reserved')).toBe(limit!.reserved);
    expect(now.value('tidegate_limit_orphaned')).toBe(limit!.orphaned);
    expect(now.value('tidegate_scope_upstream_429_total')).toBe(scope!.upstream.refused429);
    expect(now.value('tidegate_recent_starts')).toBe(status.recentStarts);
  });

  it('keep the state’s counts over a kill, and begin the process’ own anew', () => {
    for (const name of [
      'tidegate_scope_upstream_429_total',
      'tidegate_scope_upstream_requests_total',
      'tidegate_scope_episodes_total',
      'tidegate_limit_used',
    ]) {
      expect(scrape.value(name), name).toBeGreaterThan(0);
      expect(next.value(name), name).toBe(scrape.value(name));
    }
    expect(next.value('tidegate_admissions_total')).toBe(0);
    expect(
      next.value('tidegate_refusals_total', { scope: 'anthropic', decision: 'cooldown' }),
    ).toBe(0);
    expect(scrape.value('tidegate_unclean_starts')).toBe(0);
    expect(next.value('tidegate_unclean_starts')).toBe(1);
  });

  it('tell in observe mode what would have been refused', async () => {
    await gateway.tidegate.stop();
    await gateway.start({ ...ENVIRONMENT, TIDEGATE_MODE: 'observe' });
    expect(await call(jsonMessage())).toBe(200);
    const now = await scrapeNow();
    expect(now.value('tidegate_observed_refusals_total', { decision: 'budget' })).toBe(1);
    expect(now.value('tidegate_admissions_total')).toBe(1);
    expect(now.value('tidegate_mode', { mode: 'observe' })).toBe(1);
  });
});

describe('docs/reference/metrics.md', () => {
  it('is what the catalogue says (UPDATE_DOCS=1 rewrites it)', () => {
    const ofNode = [...scrape.families.values()].filter(({ name }) => OF_NODE.test(name));
    const wanted = renderReference(ofNode);
    if (process.env['UPDATE_DOCS'] === '1') writeFileSync(DOCUMENT, wanted);
    expect(readFileSync(DOCUMENT, 'utf8')).toBe(wanted);
  });
});

describe('what is asked of these metrics', () => {
  const expressions = [...expressionsOfRules(), ...expressionsOfDashboard()];

  it.each(expressions)('%s: is there', (_, expression) => {
    expect(unknownIn(expression, scrape)).toEqual([]);
  });

  it('is told from what is not there', () => {
    const unknown = (expression: string) => unknownIn(expression, scrape);
    expect(unknown('rate(tidegate_made_up_total[5m])')).toEqual(['tidegate_made_up_total']);
    expect(unknown('sum by (colour) (tidegate_limit_used)')).toEqual(['colour']);
    expect(unknown('tidegate_limit_used{colour="red"}')).toHaveLength(2);
    expect(unknown('tidegate_scope_state{state="closed"}')).toHaveLength(1);
    expect(unknown('tidegate_scope_state{state=~"open|closed"}')).toHaveLength(1);
    expect(unknown('tidegate_scope_rung{scope=~"$scope"} > on (scope) up')).toEqual([]);
    expect(() => unknown('rate(tidegate_limit_used[5m]')).toThrow('no PromQL');
  });

  it('never adds up what the state says: replicas all say the same', () => {
    const added = (expression: string) =>
      /\bsum\b/.test(expression) &&
      readQuery(expression).selectors.some(({ metric }) => /^tidegate_(scope|limit)_/.test(metric));
    expect(added('sum(tidegate_limit_used)')).toBe(true);
    expect(expressions.filter(([, expression]) => added(expression))).toEqual([]);
  });
});

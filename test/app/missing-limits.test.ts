import { beforeEach, expect, it } from 'vitest';
import { homePage } from '../../src/admin/home-page.js';
import type { LimitStatement } from '../../src/governor/attribution.js';
import type { MissingLimit } from '../../src/governor/missing-limits.js';
import type { DataPlane } from '../../src/data-plane.js';
import { ProxyTally } from '../../src/proxy/proxy-tally.js';
import { config } from '../config/load.js';
import { DAY, limit, MINUTE, SCOPE, SECOND, statement, Town } from '../governor/support.js';

/** An operator who has not told of the upstream's limits is told of them by what it refuses. */

const OPUS = 'Claude-Opus-5';

let town: Town;

beforeEach(async () => {
  // As it is without a file.
  town = await Town.open({ limits: [limit()] });
});

async function refuse(name: string, windowMs: number, statements: LimitStatement[] = []) {
  const flight = await town.admit({ model: OPUS });
  const how = { limits: [{ name, windowMs }], statements, statedWaitMs: SECOND };
  await town.refuse(flight, how);
  await town.governor.clearCooldown(SCOPE);
}

const missing = async () => (await town.view()).missing;

async function page(): Promise<string> {
  const plane = {
    config: { mode: 'enforce', instance: 'box:8787', tickMs: MINUTE },
    repository: { health: () => ({ healthy: true }) },
    clock: { now: () => town.time.wall() },
    governor: town.governor,
    proxy: { tally: new ProxyTally([SCOPE], ['api']) },
  };
  return homePage(plane as unknown as DataPlane, '1.0.0');
}

/** The limits of a file that has the entries of the page. */
async function pasted() {
  const entries = (await page()).matchAll(/^limit missing: .*: (- \{.*\})$/gm);
  const lines = [...entries].map(([, entry]) => `      ${entry}`);
  const file = `upstreams:\n  - url: https://api.anthropic.com\n    limits:\n${lines.join('\n')}\n`;
  return config({}, file).upstreams[0]?.defaultScope.limits;
}

it('is told what was refused, how often, and the entry that is missing', async () => {
  const stated = statement({ name: 'input_tokens', windowMs: MINUTE, limit: 60_000 });
  await refuse('input_tokens', MINUTE, [stated]);
  await refuse('input_tokens', MINUTE, [stated]);
  expect(await missing()).toEqual<MissingLimit[]>([
    {
      name: 'input_tokens',
      unit: 'input_tokens',
      windowMs: MINUTE,
      granted: 60_000,
      model: OPUS,
      refusals: 2,
    },
  ]);
  expect(await page()).toContain(
    'limit missing: test was refused 2 times for input_tokens of Claude-Opus-5, 60_000 in 1m, which no entry of `limits` is about: - {',
  );
  const told = { named: 'input_tokens', model: OPUS, windowMs: MINUTE, granted: 60_000 };
  expect(town.happened('limit-missing')).toEqual([{ kind: 'limit-missing', ...told }]);
  expect(await pasted()).toMatchObject([
    {
      name: 'claude-opus-5/input_tokens',
      unit: 'input_tokens',
      kind: 'bucket',
      windowMs: MINUTE,
      models: ['claude-opus-5'],
      budget: null,
    },
  ]);
});

it('has nothing to be told once the entry is there', async () => {
  await refuse('input_tokens', MINUTE);
  const limits = await pasted();
  town = await Town.open({ limits: [limit(), ...(limits ?? [])] });
  await refuse('input_tokens', MINUTE);
  expect(await missing()).toEqual([]);
});

it.each([
  // The tokens of five hours are not those of a minute, though the name is the same.
  ['tokens', MINUTE, { kind: 'bucket', unit: 'tokens', models: ['claude-opus-5'] }],
  ['7d', 7 * DAY, { name: '7d', kind: 'fixed', models: null }],
  ['7d_opus', 7 * DAY, { name: '7d_opus', kind: 'fixed', models: ['claude-opus-5'] }],
])('knows %s by its name and length', async (name, windowMs, entry) => {
  // As a subscription states them: all of its windows, with each answer.
  const windows = [statement({ name: '5h', windowMs: 300 * MINUTE, utilization: 0.3 })];
  await refuse(name, windowMs, [...windows, statement({ name, windowMs, utilization: 1 })]);
  expect(await pasted()).toMatchObject([{ windowMs, ...entry }]);
});

it('is not told of a limit that is there, nor of more than a page holds', async () => {
  await refuse('5h', 5 * 60 * MINUTE);
  expect(await missing()).toEqual([]);
  for (let index = 0; index < 20; index += 1) await refuse(`limit-${index}`, MINUTE);
  expect(await missing()).toHaveLength(16);
  expect(await page()).toContain('\nlimit missing: test has 12 more, see /status\n');
});

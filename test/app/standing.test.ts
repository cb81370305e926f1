import { HealthIndicatorService } from '@nestjs/terminus';
import { beforeEach, describe, expect, it } from 'vitest';
import { homePage } from '../../src/admin/home-page.js';
import type { DataPlane } from '../../src/data-plane.js';
import { HealthReport } from '../../src/health/health-report.js';
import { rfc3339 } from '../../src/platform/clock.js';
import type { JobRecord } from '../../src/schedule/job-record.js';
import { statusLineOf } from '../../src/service-reports.js';
import { DAY, HOUR, limit, SCOPE, success, Town } from '../governor/support.js';

/** What the one on call reads at 3 a.m., of a governor with real pools in it. */

const OPUS = 'claude-opus-4-1';
const POOL = limit({
  name: '7d_opus',
  windowMs: 7 * DAY,
  budget: 50_000,
  models: ['claude-opus-*'],
});

let town: Town;

/** Whatever tells how things stand, asked at once. */
async function told(): Promise<{ line: string; page: string; health: Record<string, unknown> }> {
  const plane = {
    config: { mode: 'enforce', instance: 'box:8787' },
    repository: { health: () => ({ healthy: true }) },
    governor: town.governor,
  } as unknown as DataPlane;
  const report = new HealthReport(plane, new HealthIndicatorService(), {} as JobRecord);
  return {
    line: await statusLineOf(plane),
    page: await homePage(plane, '1.0.0'),
    health: (await report.scope(SCOPE))[`scope:${SCOPE}`] as Record<string, unknown>,
  };
}

async function refuse(model: string, window: string, statedWaitMs: number): Promise<string> {
  const flight = await town.admit({ model });
  await town.refuse(flight, { limits: [{ name: window, windowMs: 7 * DAY }], statedWaitMs });
  const view = await town.view();
  const pool = view.limits.find(({ name }) => name === window)?.cooldown;
  const own = view.models.find((each) => each.model === model)?.cooldown;
  return rfc3339((pool ?? own)?.until ?? NaN);
}

beforeEach(async () => {
  town = await Town.open({ limits: [limit({ name: '7d', windowMs: 7 * DAY }), POOL] });
});

describe('a pool in a cooldown, in a scope that is open,', () => {
  it('is named by health, the status line and the page, with its models and until when', async () => {
    const until = await refuse(OPUS, '7d_opus', 10 * HOUR);
    const { line, page, health } = await told();
    const expected = `test: open, but not claude-opus-* (7d_opus): cooldown (quota) until ${until}`;
    expect(line).toBe(expected);
    expect(page.split('\n').slice(0, 3)).toEqual([
      'Tidegate 1.0.0, instance box:8787',
      '',
      expected,
    ]);
    expect(health).toEqual({
      status: 'up',
      state: 'open',
      blockedUntil: null,
      because: null,
      pools: [
        {
          limit: '7d_opus',
          models: ['claude-opus-*'],
          state: 'cooldown',
          blockedUntil: until,
          because: 'quota',
        },
      ],
    });
  });

  it('is half-open once its time is over, and nothing is said any more once it is open', async () => {
    await refuse(OPUS, '7d_opus', HOUR);
    await town.pass(2 * HOUR);
    expect(await told()).toMatchObject({
      line: 'test: open, but not claude-opus-* (7d_opus): half-open (quota)',
      health: { pools: [{ state: 'half-open', blockedUntil: null }] },
    });
    const probe = await town.admit({ model: OPUS });
    town.governor.succeeded(probe, []);
    await town.settle(probe, success(10));
    expect(await told()).toMatchObject({ line: 'test: open', health: { pools: [] } });
  });

  it('is a model alone, where its window is not configured; its name breaks no line', async () => {
    const until = await refuse('sneaky\nmainpid=1', '7d_sneaky', HOUR);
    const { line, health } = await told();
    expect(line).toBe(`test: open, but not sneaky?mainpid=1: cooldown (quota) until ${until}`);
    expect(health).toMatchObject({ pools: [{ limit: null, models: ['sneaky\nmainpid=1'] }] });
  });

  it('is named before others that open sooner, which are counted', async () => {
    for (const hours of [1, 4, 2, 5, 3]) await refuse(`m${hours}`, `7d_m${hours}`, hours * HOUR);
    const { line, health } = await told();
    expect(line.match(/m\d/g)).toEqual(['m5', 'm4', 'm3']);
    expect(line).toMatch(/, 2 more$/);
    expect(health['pools']).toHaveLength(5);
  });
});

it('a pool whose budget is used up is named, too, and beside a scope that is blocked itself', async () => {
  const spender = await town.admit({ model: 'claude-opus-spent' });
  town.governor.succeeded(spender, []);
  await town.settle(spender, success(60_000));
  const { blockedUntil } = await town.limitView(1);
  const pool = `claude-opus-* (7d_opus): exhausted until ${rfc3339(blockedUntil ?? NaN)}`;
  expect((await told()).line).toBe(`test: open, but not ${pool}`);
  await town.refuse(await town.admit({ model: 'other' }), { statedWaitMs: HOUR });
  expect((await told()).line).toMatch(/^test: cooldown \(quota\) until [^ ]+, and claude-opus-\*/);
});

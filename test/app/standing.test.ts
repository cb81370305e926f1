import { HealthIndicatorService } from '@nestjs/terminus';
import { beforeEach, describe, expect, it } from 'vitest';
import { homePage } from '../../src/admin/home-page.js';
import { statusOf } from '../../src/admin/status.js';
import type { DataPlane } from '../../src/data-plane.js';
import { HealthReport } from '../../src/health/health-report.js';
import { rfc3339 } from '../../src/platform/clock.js';
import type { JobRecord } from '../../src/schedule/job-record.js';
import { ProxyTally } from '../../src/proxy/proxy-tally.js';
import { statusLineOf } from '../../src/service-reports.js';
import { DAY, HOUR, limit, MINUTE, POLICIES, SCOPE, success, Town } from '../governor/support.js';

/** What the one on call reads at 3 a.m., of a governor with real pools in it. */

const OPUS = 'claude-opus-4-1';
const POOL = limit({
  name: '7d_opus',
  windowMs: 7 * DAY,
  budget: 50_000,
  models: ['claude-opus-*'],
});

let town: Town;
let tally: ProxyTally;

function planeOf(): DataPlane {
  return {
    config: { mode: 'enforce', instance: 'box:8787', tickMs: MINUTE },
    repository: { health: () => ({ healthy: true }) },
    clock: { now: () => town.time.wall() },
    startedAt: town.time.wall(),
    policies: POLICIES,
    governor: town.governor,
    proxy: { tally },
  } as unknown as DataPlane;
}

/** Whatever tells how things stand, asked at once. */
async function told(): Promise<{ line: string; page: string; health: Record<string, unknown> }> {
  const plane = planeOf();
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
  tally = new ProxyTally([SCOPE], ['api']);
  town = await Town.open({ limits: [limit({ name: '7d', windowMs: 7 * DAY }), POOL] });
});

describe('a pool in a cooldown, in a scope that is open,', () => {
  it('is named by health, the status line and the page, with its models and until when', async () => {
    const until = await refuse(OPUS, '7d_opus', 10 * HOUR);
    const { line, page, health } = await told();
    const expected = `test: open, but not claude-opus-* (7d_opus): cooldown (quota) until ${until}`;
    expect(line).toBe(expected);
    expect(page.split('\n').slice(0, 3)).toEqual([
      `Tidegate 1.0.0, instance box:8787, at ${rfc3339(town.time.wall())}`,
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

describe('a cooldown after a 429 that says nothing', () => {
  const used = 10_000;

  beforeEach(async () => {
    town = await Town.open();
    await town.call(used);
    await town.refuse(await town.admit(), { kind: 'unknown' });
    await town.pass(MINUTE);
    await town.refuse(await town.admit(), { kind: 'unknown' });
  });

  it('says that the budget it has taught is used up for longer than itself', async () => {
    const { cooldown, blockedUntil, limits } = await town.view();
    const [over, end] = [cooldown?.until, blockedUntil].map((at) => rfc3339(at ?? NaN));
    const figures = 'tokens: 10_000 of 9_700 learned';
    const { line, page, health } = await told();
    expect(line).toBe(
      `test: cooldown (no reason stated) until ${over}, then exhausted (${figures}) until ${end}`,
    );
    expect(page).toMatch(/^cooldown: .*POST \/cooldown\/clear$/m);
    expect(page).toMatch(/^exhausted \(learned\): .*POST \/budget\/reset$/m);
    expect(health).toMatchObject({ state: 'cooldown', because: 'unknown', blockedUntil: end });
    expect(limits[0]?.budget.current).toBe(9_700);
  });

  it('is exhausted once its time is over, and not about to find out', async () => {
    await town.pass(5 * MINUTE);
    expect((await town.denied()).decision).toBe('budget');
    const { blockedUntil } = await town.view();
    const end = rfc3339(blockedUntil ?? NaN);
    const { line, page, health } = await told();
    expect(line).toBe(`test: exhausted (tokens: 10_000 of 9_700 learned) until ${end}`);
    expect(page).not.toContain('wait some seconds');
    expect(health).toMatchObject({ state: 'exhausted', because: null, blockedUntil: end });
    await town.pass(HOUR);
    await town.admit();
    expect((await told()).line, 'what looks into it is no news').toContain('exhausted');
  });
});

it('a pool whose probe finds no room in its budget is exhausted, too', async () => {
  const spender = await town.admit({ model: OPUS });
  town.governor.succeeded(spender, []);
  const late = await town.admit({ model: OPUS });
  await town.settle(spender, success(60_000));
  await town.refuse(late, { limits: [{ name: '7d_opus', windowMs: 7 * DAY }], kind: 'unknown' });
  const pool = async () => ((await told()).health['pools'] as Record<string, unknown>[])[0];
  expect(await pool()).toMatchObject({ state: 'cooldown', because: 'unknown' });
  await town.pass(MINUTE);
  expect(await pool()).toMatchObject({ state: 'exhausted', because: null });
});

it('an upstream that gives no answer is told, though nothing is held back, until it gives one', async () => {
  const at = town.time.wall();
  tally.unanswered('api', 'ECONNREFUSED', at);
  const silent = (which: string) =>
    `no answer from upstream api to ${which}, since ${rfc3339(at)} (ECONNREFUSED)`;
  expect((await told()).line).toBe(`${silent('the last request')}; test: open`);
  tally.unanswered('api', 'ECONNREFUSED', at + MINUTE);
  const { page } = await told();
  expect(page).toContain(silent('the last 2 requests'));
  expect(page).toMatch(/^no answer: GET \/health\/upstream/m);
  tally.answered('api', true, 500);
  expect((await told()).line).toBe('test: open');
});

it('requests that pass unmetered are told, with what to set', async () => {
  tally.missed.set('api', 'openai');
  const { line, page } = await told();
  expect(line).toBe(
    'unmetered: requests to upstream api pass and are not counted; they look like those of dialect openai; test: open',
  );
  expect(page).toMatch(/^unmetered: set TIDEGATE_DIALECT/m);
});

it('refusals far below a configured budget are told by health from the third in a row on', async () => {
  town = await Town.open({ limits: [limit({ budget: 100_000 })] });
  const warnings: unknown[] = [];
  for (let episode = 1; episode <= 4; episode += 1) {
    await town.call(1_000);
    await town.refuse(await town.admit());
    warnings.push((await told()).health['warnings']);
    // The call that follows is the probe, which ends the episode.
    await town.pass(HOUR);
  }
  const warned = (times: number) => [expect.stringContaining(`${times} times in a row below`)];
  expect(warnings).toEqual([undefined, undefined, warned(3), warned(4)]);
});

it('a job that has not run for three of its periods is told by health, whether it ever ran or not', () => {
  const job = { succeededAt: null as number | null, failure: null };
  const report = new HealthReport(
    planeOf(),
    new HealthIndicatorService(),
    job as unknown as JobRecord,
  );
  const status = () => report.jobs()['job']?.status;
  for (const ranAt of [null, town.time.wall() + 3 * MINUTE + 1]) {
    job.succeededAt = ranAt;
    if (ranAt !== null) expect(status(), 'it has run again').toBe('up');
    town.time.advance(3 * MINUTE);
    expect(status(), 'it may be a little late').toBe('up');
    town.time.advance(1);
    expect(status()).toBe('degraded');
  }
});

it('a scope that was added later does not hide how often the instance has started', async () => {
  const view = await town.view();
  const startedOften = { recent: 4, unclean: 0, crashLoop: false };
  const views = [view, { ...view, scope: 'added', starts: { ...view.starts, recent: 1 } }];
  for (const order of [views, views.toReversed()]) {
    const starting = order.map((each) =>
      each.scope === SCOPE ? { ...each, starts: startedOften } : each,
    );
    expect(statusOf(planeOf(), '1.0.0', starting).recentStarts).toBe(4);
  }
});

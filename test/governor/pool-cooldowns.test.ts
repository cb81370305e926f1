import { describe, expect, it } from 'vitest';
import { BOUNDS } from '../../src/state/scope-state.js';
import {
  DAY,
  HOUR,
  limit,
  MINUTE,
  SECOND,
  statement,
  success,
  Town,
  type TownOptions,
} from './support.js';

const OPUS = 'claude-opus-4-1';
const SONNET = 'claude-sonnet-4-5';

const SHARED = limit({ name: '7d', windowMs: 7 * DAY, budget: 1_000_000 });
const POOL = limit({
  name: '7d_opus',
  windowMs: 7 * DAY,
  budget: 50_000,
  models: ['claude-opus-*'],
});
const WEEK_OF_OPUS = [{ name: '7d_opus', windowMs: 7 * DAY }];

/** Two limits, one of them a pool. */
const CONFIGURED: TownOptions = { limits: [SHARED, POOL] };
/** The upstream has a window for a model that nobody configured. */
const PLAIN: TownOptions = { limits: [SHARED] };

async function refusedPool(town: Town, model = OPUS, statedWaitMs: number | null = null) {
  await town.refuse(await town.admit({ model }), { limits: WEEK_OF_OPUS, statedWaitMs });
}

async function succeed(town: Town, model: string, tokens = 10): Promise<void> {
  const admission = await town.admit({ model });
  town.governor.succeeded(admission, []);
  await town.settle(admission, success(tokens));
}

describe.each([
  ['a limit with models', CONFIGURED],
  ['the model, where its window is not configured', PLAIN],
])('a refusal that names the window of %s', (_, options) => {
  it('holds its models back, and no others', async () => {
    const town = await Town.open(options);
    await refusedPool(town);
    const denied = await town.ask({ model: OPUS });
    const until = town.time.wall() + 30 * SECOND - 250;
    expect(denied).toMatchObject({ denial: { decision: 'cooldown', until } });
    expect((await town.view()).state).toBe('open');
    expect((await town.view()).blockedUntil).toBeNull();
    await succeed(town, SONNET);
    await succeed(town, SONNET);
    expect(await town.ask({ model: OPUS })).toMatchObject({ kind: 'refused' });
  });

  it('makes one rung of ten refusals at once', async () => {
    const town = await Town.open(options);
    const flights = [];
    for (let count = 0; count < 10; count += 1) flights.push(await town.admit({ model: OPUS }));
    for (const flight of flights) await town.refuse(flight, { limits: WEEK_OF_OPUS });
    expect(town.happened('cooldown-began')).toHaveLength(1);
    expect(town.happened('cooldown-climbed')).toHaveLength(0);
    expect((await town.view()).counters.upstream429).toBe(10);
  });

  it('climbs by its own probe only, and its success ends its own episode only', async () => {
    const town = await Town.open(options);
    await refusedPool(town);
    await town.pass(30 * SECOND);
    const probe = await town.admit({ model: OPUS });
    expect(await town.ask({ model: OPUS })).toMatchObject({ denial: { decision: 'probing' } });
    await succeed(town, SONNET);
    await town.refuse(probe, { limits: WEEK_OF_OPUS });
    expect(town.happened('cooldown-climbed')).toMatchObject([{ rung: 2, episode: 1 }]);
    expect((await town.view()).cooldown).toBeNull();
    await town.pass(60 * SECOND);
    await succeed(town, OPUS);
    expect(town.happened('episode-ended')).toMatchObject([{ rungs: 2 }]);
    await succeed(town, OPUS);
    expect((await town.view()).models).toEqual([]);
  });

  it('is not begun again by a refusal of what had started before', async () => {
    const town = await Town.open(options);
    const late = await town.admit({ model: OPUS });
    await refusedPool(town);
    await town.pass(30 * SECOND);
    await succeed(town, OPUS);
    await town.refuse(late, { limits: WEEK_OF_OPUS });
    expect(await town.ask({ model: OPUS })).toMatchObject({ kind: 'admitted' });
    // Nor after the job has looked, with the one that could be late still in flight.
    const latest = await town.admit({ model: OPUS });
    await town.tick();
    await town.refuse(latest, { limits: WEEK_OF_OPUS });
    expect(await town.ask({ model: OPUS })).toMatchObject({ kind: 'refused' });
  });

  it('holds back a request whose model is unknown, and lets it probe', async () => {
    const town = await Town.open(options);
    await refusedPool(town);
    expect(await town.ask({ model: '' })).toMatchObject({ denial: { decision: 'cooldown' } });
    await town.pass(30 * SECOND);
    await succeed(town, '');
    expect(await town.ask({ model: OPUS })).toMatchObject({ kind: 'admitted' });
  });

  it('is remembered after a crash, with its rung; a lost probe keeps its place for its 10 s', async () => {
    const town = await Town.open(options);
    await refusedPool(town);
    await town.pass(30 * SECOND);
    await refusedPool(town);
    const before = await town.view();
    await town.crash();
    expect(await town.view()).toMatchObject({ limits: before.limits, models: before.models });
    const { denial } = (await town.ask({ model: OPUS })) as { denial: { until: number } };
    expect(denial.until - town.time.wall()).toBe(60 * SECOND - 250);
    await town.pass(60 * SECOND);
    await town.admit({ model: OPUS });
    await town.crash();
    expect(await town.ask({ model: OPUS })).toMatchObject({ denial: { decision: 'probing' } });
    await town.pass(10 * SECOND);
    const probe = await town.admit({ model: OPUS });
    expect(Object.values(probe.grant.pools)).toMatchObject([{ role: 'probe', rung: 2 }]);
  });

  it('passes in observe mode, and counts all the same', async () => {
    const town = await Town.open({ ...options, observe: true });
    await refusedPool(town);
    const passed = await town.ask({ model: OPUS });
    expect(passed).toMatchObject({ kind: 'admitted', observed: { decision: 'cooldown' } });
    await refusedPool(town);
    expect(town.happened('cooldown-climbed')).toHaveLength(0);
    expect(await town.ask({ model: SONNET })).toMatchObject({ observed: null });
  });

  it('is probed once an hour if it is long, and ends when the operator says so', async () => {
    const town = await Town.open(options);
    await refusedPool(town, OPUS, 10 * HOUR);
    await town.pass(HOUR);
    await refusedPool(town, OPUS, 9 * HOUR);
    expect(town.happened('cooldown-climbed')).toHaveLength(0);
    expect(await town.ask({ model: OPUS })).toMatchObject({ kind: 'refused' });
    const cleared = town.governor.clearCooldown('test');
    await town.pass(0);
    await cleared;
    expect(await town.ask({ model: OPUS })).toMatchObject({ kind: 'admitted' });
  });

  it('leaves the scope its own ladder', async () => {
    const town = await Town.open(options);
    await refusedPool(town, OPUS, 10 * MINUTE);
    await town.refuse(await town.admit({ model: SONNET }));
    // The pool opens last, so that is what its requests are told.
    const opus = await town.ask({ model: OPUS });
    expect(opus).toMatchObject({ denial: { until: town.time.wall() + 10 * MINUTE - 500 } });
    const sonnet = await town.ask({ model: SONNET });
    expect(sonnet).toMatchObject({ denial: { until: town.time.wall() + 30 * SECOND - 250 } });
    await town.pass(30 * SECOND);
    // A request that its pool holds back is no probe of the scope's.
    expect(await town.ask({ model: OPUS })).toMatchObject({ kind: 'refused' });
    const probe = await town.admit({ model: SONNET });
    expect(probe.grant.ticket.role).toBe('probe');
    await town.pass(10 * MINUTE);
    town.governor.succeeded(probe, []);
    await town.pass(0);
    expect(town.happened('episode-ended')).toMatchObject([{ pool: null }]);
    await succeed(town, OPUS);
    expect(town.happened('episode-ended')).toHaveLength(2);
  });
});

describe('a pool', () => {
  it('keeps a sample of its own limit, beside the one of the scope', async () => {
    const town = await Town.open(CONFIGURED);
    // Of models of their own, so that no other estimate is learned.
    await succeed(town, 'claude-opus-spent', 40_000);
    await succeed(town, 'spent', 500_000);
    const slow = await town.admit({ model: 'slow' });
    await town.refuse(await town.admit({ model: OPUS }), {
      limits: WEEK_OF_OPUS,
      statedWaitMs: 2 * HOUR,
    });
    await town.refuse(await town.admit({ model: SONNET }), {
      limits: [{ name: '7d', windowMs: 7 * DAY }],
      statedWaitMs: HOUR,
    });
    await town.settle(slow, success(5_000));
    expect(town.happened('sample')).toMatchObject([
      { limit: '7d', tokens: 545_000, accepted: true },
      { limit: '7d_opus', tokens: 40_000, accepted: true },
    ]);
    expect((await town.limitView(1)).budget).toMatchObject({ learned: 40_000 });
  });

  it('shows its cooldown under its limit, and a model its own in a list', async () => {
    const configured = await Town.open(CONFIGURED);
    await refusedPool(configured);
    const until = configured.time.wall() + 30 * SECOND - 250;
    const cooldown = { consecutive: 1, episode: 1, kind: 'unknown', until };
    expect(await configured.limitView(1)).toMatchObject({
      cooldown: { until },
      blockedUntil: until,
    });
    expect(await configured.limitView(0)).toMatchObject({ cooldown: null, blockedUntil: null });
    const plain = await Town.open(PLAIN);
    await plain.refuse(await plain.admit({ model: 'Claude-Opus-4-1' }), {
      kind: 'unknown',
      limits: WEEK_OF_OPUS,
    });
    expect((await plain.view()).models).toMatchObject([{ model: OPUS, cooldown }]);
  });

  it('is the model, where its limit of fast requests refused', async () => {
    const town = await Town.open(PLAIN);
    const limits = [{ name: 'fast_input_tokens', windowMs: MINUTE }];
    await town.refuse(await town.admit({ model: OPUS }), { limits, statedWaitMs: 30 * SECOND });
    expect(await town.ask({ model: OPUS })).toMatchObject({ denial: { decision: 'cooldown' } });
    expect((await town.view()).models).toMatchObject([{ model: OPUS }]);
    await succeed(town, SONNET);
  });

  it('that is refused for a window of all models as well holds all of them back', async () => {
    const town = await Town.open(CONFIGURED);
    await town.refuse(await town.admit({ model: OPUS }), {
      limits: [...WEEK_OF_OPUS, { name: '7d', windowMs: 7 * DAY }],
    });
    expect(await town.ask({ model: SONNET })).toMatchObject({ kind: 'refused' });
  });

  it.each([
    ['says nothing', OPUS, []],
    ['names a window that is not configured', OPUS, [{ name: '30d', windowMs: 30 * DAY }]],
    ['names a window of models for one that is unknown', '', [{ name: '7d_oi', windowMs: null }]],
  ])('is not meant by a refusal that %s', async (_, model, limits) => {
    const town = await Town.open(CONFIGURED);
    await town.refuse(await town.admit({ model }), { limits });
    expect(await town.ask({ model: SONNET })).toMatchObject({ kind: 'refused' });
  });

  it('reopens its own window when a routine probe finds an early reset', async () => {
    const town = await Town.open(CONFIGURED);
    await succeed(town, 'claude-opus-spent', 40_000);
    await succeed(town, 'spent', 70_000);
    await refusedPool(town, OPUS, 100 * HOUR);
    await town.pass(HOUR);
    // The learned budget is used up, too.
    const probe = await town.admit({ model: OPUS });
    town.governor.succeeded(probe, []);
    await town.settle(probe, success(100));
    expect(town.happened('window-reopened')).toMatchObject([{ limit: '7d_opus' }]);
    expect((await town.limitView(0)).used).toBe(110_100);
    expect((await town.limitView(1)).used).toBe(100);
  });

  it('is looked into past its own limit, and past none that all models share', async () => {
    const town = await Town.open(CONFIGURED);
    await refusedPool(town, OPUS, 100 * HOUR);
    const shared = { name: '7d', windowMs: 7 * DAY };
    const usedUp = statement({ ...shared, status: 'rejected', utilization: 1 });
    const other = await town.admit({ model: SONNET });
    town.governor.succeeded(other, [usedUp]);
    await town.settle(other, success(100));
    await town.pass(HOUR);
    expect(await town.ask({ model: OPUS })).toMatchObject({ denial: { limit: '7d' } });
  });

  it('makes room for another once its episode is over: else the refusal is the scope’s', async () => {
    const town = await Town.open(PLAIN);
    await town.pass(MINUTE);
    for (let count = 0; count < BOUNDS.pools; count += 1) {
      await refusedPool(town, `m${count}`, count === 0 ? MINUTE : 10 * HOUR);
    }
    await town.pass(MINUTE);
    const probe = await town.admit({ model: 'm0' });
    await refusedPool(town, 'one-more', MINUTE);
    expect((await town.view()).models).toHaveLength(BOUNDS.pools);
    expect((await town.view()).state).toBe('cooldown');
    await town.pass(MINUTE);
    await succeed(town, SONNET);
    expect((await town.view()).state).toBe('open');
    // Its probe has been out for more than ten seconds, so one more may find out, and nobody else.
    expect((await town.ask({ model: 'm0' })).kind).toBe('admitted');
    expect((await town.ask({ model: 'm0' })).kind).toBe('refused');
    town.governor.succeeded(probe, []);
    await town.settle(probe, success(1));
    await refusedPool(town, 'yet-another', HOUR);
    const models = (await town.view()).models.map(({ model }) => model);
    expect(models).toHaveLength(BOUNDS.pools);
    expect(models).toContain('yet-another');
    expect((await town.view()).state).toBe('open');
  });

  it('is forgotten once its episode is over and nothing is in flight', async () => {
    const town = await Town.open(PLAIN);
    await refusedPool(town);
    await town.pass(30 * SECOND);
    const flying = await town.admit({ model: OPUS });
    town.governor.succeeded(flying, []);
    await town.pass(0);
    const pools = () => Object.keys(town.disk.scopes.get('test')?.hot.pools ?? {});
    await town.tick();
    expect(pools()).toEqual([`model:${OPUS}`]);
    await town.settle(flying, success(1));
    await town.tick();
    expect(pools()).toEqual([]);
  });
});

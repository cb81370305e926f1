import { afterAll, beforeAll, expect, it } from 'vitest';
import { refusal } from '../support/fake-upstream.js';
import { Replicas, TOKENS } from '../support/replicas.js';
import { TemporaryDirectory } from '../support/temporary-directory.js';
import { until } from '../support/until.js';

/**
 * Goal: any number of replicas acts as one. Method: real processes whose clocks are minutes apart,
 * one real Postgres, and an upstream with a counter that they do not know. Each test has a scope of
 * its own.
 */
const BUDGET = 20_000;
const CALLERS = 8;
const ALL = [0, 1, 2, 3, 4, 5, 6, 7];

let replicas: Replicas;
beforeAll(async () => {
  const scopes = ['by-1', 'by-2', 'by-4', 'by-8', 'cooldown', 'rung', 'probe', 'dated', 'silent'];
  const env = { TIDEGATE_TICK: '1s', TIDEGATE_BACKOFF: '1s,2s,3s' };
  replicas = await Replicas.start(ALL.length, { budget: BUDGET, scopes, env });
}, 120_000);
afterAll(() => replicas?.dispose());

/**
 * The bound: what the upstream counts exceeds the budget by no more than what the estimates of the
 * requests in flight were too low by; at worst each was estimated at nothing.
 */
const IN_FLIGHT = CALLERS * TOKENS;

it.each([1, 2, 4, 8])(
  '%i replicas spend one budget: whole, and once',
  async (count) => {
    const name = `by-${count}`;
    await replicas.saturate(name, count, CALLERS);
    const spent = replicas.spent(name);
    expect(spent).toBeLessThanOrEqual(BUDGET + IN_FLIGHT);
    expect(spent).toBeGreaterThanOrEqual(0.97 * BUDGET);

    // Every replica shows the whole scope, whichever requests went through it.
    for (const replica of ALL) {
      const { state, limits, local, upstream } = await replicas.scope(replica, name);
      expect(state).toBe('exhausted');
      expect(limits[0]).toMatchObject({ used: spent, reserved: 0 });
      expect(local.admitted).toBe(spent / TOKENS);
      expect(upstream.requests).toBe(spent / TOKENS);
    }
  },
  60_000,
);

it('four replicas that share no memory spend it four times', async () => {
  const directory = new TemporaryDirectory();
  const stateOf = (index: number) => `file:${directory.at(`state-${index}.json`)}`;
  const budget = 10_000;
  const strangers = await Replicas.start(4, { budget, scopes: ['alone'], stateOf });
  try {
    await strangers.saturate('alone', 4, CALLERS);
    expect(strangers.spent('alone') / budget).toBeGreaterThan(3.5);
    expect(strangers.spent('alone') / budget).toBeLessThan(4.5);
  } finally {
    await strangers.dispose();
    directory.dispose();
  }
}, 120_000);

it('a cooldown set through one stops all, at their next admission', async () => {
  // One of them had the scope to itself, and decides on what it remembers.
  for (let n = 0; n < 3; n += 1) expect(await replicas.call(5, 'cooldown')).toBe('200');
  replicas.answers.set('cooldown', refusal({ 'retry-after': '600' }));
  expect(await replicas.call(3, 'cooldown')).toBe('429');
  const outcomes = await Promise.all(ALL.map((replica) => replicas.call(replica, 'cooldown')));
  expect(outcomes).toEqual(ALL.map(() => 'cooldown'));
  expect(replicas.seen('cooldown')).toBe(4);
});

it('eight that meet one exhaustion climb one rung', async () => {
  const refuse = refusal({ 'retry-after': '600' });
  // Nobody is refused before all of them are on their way.
  replicas.answers.set('rung', async (request, response) => {
    await until(() => replicas.seen('rung') === ALL.length, 20_000);
    await refuse(request, response);
  });
  const outcomes = await Promise.all(ALL.map((replica) => replicas.call(replica, 'rung')));
  expect(outcomes).toEqual(ALL.map(() => '429'));
  const { cooldown, upstream, calibration } = await replicas.scope(5, 'rung');
  expect(cooldown).toMatchObject({ episode: 1, consecutive: 1 });
  expect(upstream.refused429).toBe(ALL.length);
  expect(calibration.accepted + calibration.discarded).toBeLessThanOrEqual(1);
});

it('a wait until a date lasts as long for all, whatever their clocks say', async () => {
  const date = new Date(Date.now() + 90_000).toUTCString();
  replicas.answers.set('dated', refusal({ 'retry-after': date }));
  // Its clock is seven minutes behind; that of the second, five minutes ahead.
  expect(await replicas.call(2, 'dated')).toBe('429');
  const { cooldown } = await replicas.scope(1, 'dated');
  const lastsMs = Date.parse(cooldown!.until) - Date.parse(cooldown!.since);
  expect(lastsMs).toBeGreaterThan(85_000);
  expect(lastsMs).toBeLessThan(100_000);
  expect(await replicas.call(1, 'dated')).toBe('cooldown');
});

it('one probe among all, which a dead replica takes along for its ten seconds and no longer', async () => {
  replicas.answers.set('probe', refusal({ 'retry-after': '1' }));
  expect(await replicas.call(0, 'probe')).toBe('429');
  const { until: end } = (await replicas.scope(0, 'probe')).cooldown!;
  // The probe gets no answer, and whoever holds it dies.
  let holder = -1;
  replicas.answers.set('probe', () => undefined);
  // On a busy machine an instance's idea of the database's clock may lie a little behind.
  await until(() => Date.now() > Date.parse(end) + 500, 5_000);
  const asked = performance.now();
  const waiting = ALL.map(async (replica) => {
    const outcome = await replicas
      .call(replica, 'probe', { signal: AbortSignal.timeout(3_000) })
      .catch(() => 'no answer');
    if (outcome === 'no answer') holder = replica;
    return outcome;
  });
  const outcomes = (await Promise.all(waiting)).toSorted();
  expect(outcomes).toEqual(['no answer', ...Array<string>(ALL.length - 1).fill('probing')]);
  expect(replicas.seen('probe')).toBe(2);

  await replicas.running[holder]!.kill();
  replicas.answers.delete('probe');
  const others = ALL.filter((replica) => replica !== holder);
  let next = '';
  for (let n = 0; next !== '200'; n += 1) {
    next = await replicas.call(others[n % others.length]!, 'probe');
    if (next !== '200') expect(next).toBe('probing');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  expect(performance.now() - asked).toBeGreaterThan(9_000);
  expect(performance.now() - asked).toBeLessThan(20_000);
  expect(replicas.seen('probe')).toBe(3);
  await replicas.launch(holder);
}, 90_000);

it('a name that two have is said loudly by the one that had it before, and does no harm', async () => {
  const twin = replicas.running[6]!;
  const { used } = (await replicas.scope(0, 'by-8')).limits[0]!;
  await replicas.launch(6);
  const said = () => twin.log().some(({ message }) => message.includes('TIDEGATE_INSTANCE'));
  try {
    await until(said, 20_000);
  } finally {
    await twin.kill();
  }
  expect((await replicas.scope(6, 'by-8')).limits[0]).toMatchObject({ used });
}, 90_000);

it('what a silent replica had in flight becomes orphaned, and stays charged', async () => {
  replicas.answers.set('silent', () => undefined);
  const lost = replicas.call(7, 'silent').catch(() => 'broken');
  await until(() => replicas.seen('silent') === 1, 20_000);
  const before = (await replicas.scope(0, 'silent')).limits[0]!;
  expect(before.reserved).toBeGreaterThan(0);
  expect(before.orphaned).toBe(0);
  await replicas.running[7]!.kill();
  expect(await lost).toBe('broken');
  await until(async () => (await replicas.scope(0, 'silent')).limits[0]!.reserved === 0, 20_000);
  const after = (await replicas.scope(0, 'silent')).limits[0]!;
  expect(after).toMatchObject({ used: before.used, orphaned: before.used, reserved: 0 });
}, 60_000);

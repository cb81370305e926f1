import { describe, expect, it } from 'vitest';
import { DAY, HOUR, limit, MINUTE, SECOND, statement, success, Town } from './support.js';

describe('a request', () => {
  it('that turns out large after another was refused makes the sample as large', async () => {
    const town = await Town.open({ limits: [limit({ budget: 100_000 })] });
    await town.call(50_000);
    const large = await town.admit();
    await town.refuse(await town.admit(), { statedWaitMs: HOUR });
    town.governor.amend(large, 40_000);
    await town.pass(0);
    await town.settle(large, success(40_010));
    expect(town.happened('sample')).toMatchObject([{ tokens: 90_010, accepted: true }]);
  });

  it('is charged its estimate before it passes, and its cost once it is over', async () => {
    const town = await Town.open({ limits: [limit({ budget: 10_000 })] });
    const admission = await town.admit({ bodyBytes: 1_000 });
    expect(await town.limitView()).toMatchObject({ used: 705, reserved: 705, remaining: 9_295 });
    await town.settle(admission, success(120));
    expect(await town.limitView()).toMatchObject({ used: 120, reserved: 0, remaining: 9_880 });
    const { counters } = await town.view();
    expect(counters).toMatchObject({ admitted: 1, upstreamRequests: 1, refused: 0 });
  });

  it('is corrected as soon as its real input is known: upward at once, downward with company', async () => {
    const town = await Town.open();
    const admission = await town.admit({ bodyBytes: 1_000 });
    town.governor.amend(admission, 5_000);
    await town.pass(0);
    expect(await town.limitView()).toMatchObject({ used: 5_405, reserved: 5_405 });
    town.governor.amend(admission, 10);
    await town.pass(0);
    expect((await town.limitView()).used).toBe(5_405);
    await town.pass(250);
    expect((await town.limitView()).used).toBe(415);
  });

  it('writes a settlement above its charge at once, and one below with the next admission', async () => {
    const town = await Town.open();
    const [low, high] = [await town.admit(), await town.admit()];
    town.governor.settle(low, success(1));
    town.governor.settle(high, success(9_000));
    await town.pass(0);
    expect((await town.limitView()).used).toBe(9_001);
    const third = await town.admit();
    town.governor.settle(third, success(1));
    await town.admit();
    expect((await town.limitView()).reserved).toBe((await town.limitView()).used - 9_002);
  });

  it.each([
    ['not sent', { kind: 'not-sent' }, 0, 0],
    ['sent without an answer', { kind: 'no-answer' }, 705, 1],
    ['answered 4xx or 5xx', { kind: 'not-a-success' }, 0, 1],
    [
      'cut before any usage',
      { ...success(0, false), inputTokens: null, outputTokens: null },
      705,
      1,
    ],
    ['cut after message_start', { ...success(50, false), relayedOutputTokens: 31 }, 81, 1],
    ['complete', { ...success(50), outputTokens: 7 }, 57, 1],
  ] as const)('%s costs what it should', async (_, settlement, tokens, requests) => {
    const calls = limit({ name: 'calls', unit: 'requests' });
    const town = await Town.open({ limits: [limit(), calls] });
    await town.settle(await town.admit({ bodyBytes: 1_000 }), settlement);
    expect((await town.limitView(0)).used).toBe(tokens);
    expect((await town.limitView(1)).used).toBe(requests);
  });

  it('gives back what it did not need to the very admission that takes its settlement along', async () => {
    const town = await Town.open({ limits: [limit({ budget: 1_000 })] });
    const first = await town.admit({ bodyBytes: 1_000 });
    // Real input and settlement come in one piece, within the 250 ms.
    town.governor.amend(first, 20);
    town.governor.settle(first, success(20));
    const revision = town.repository.health().revision;
    expect((await town.limitView()).used, 'still its whole estimate').toBe(705);
    await town.admit({ bodyBytes: 1_000 });
    expect(town.repository.health().revision, 'all in one write').toBe(revision + 1);
  });

  it('settles once, whatever else is said of it', async () => {
    const town = await Town.open();
    const admission = await town.admit();
    await town.settle(admission, success(100));
    await town.settle(admission, success(900));
    town.governor.amend(admission, 5_000);
    await town.pass(250);
    expect((await town.limitView()).used).toBe(100);
  });

  it.each(['__proto__', 'constructor', 'hasOwnProperty', ''])(
    'may call its model %j',
    async (model) => {
      const town = await Town.open();
      await town.settle(await town.admit({ model }), success(1_000));
      expect((await town.admit({ model })).estimate.inputTokens).toBe(1_000);
      await town.crash();
      expect((await town.admit({ model })).estimate.inputTokens).toBe(1_000);
    },
  );

  it('costs no more than can be added up, whatever the upstream says', async () => {
    const town = await Town.open();
    await town.settle(await town.admit(), success(Number.MAX_SAFE_INTEGER));
    await town.settle(await town.admit(), success(Number.MAX_SAFE_INTEGER));
    expect((await town.limitView()).used).toBe(2_000_000_000);
    town.governor.amend(await town.admit(), Number.MAX_SAFE_INTEGER);
    await town.pass(0);
    expect(Number.isSafeInteger((await town.limitView()).used)).toBe(true);
  });

  it('learns what the model costs, and keeps it across a restart', async () => {
    const town = await Town.open();
    await town.settle(await town.admit({ session: 's' }), success(1_000));
    expect((await town.admit({ session: 's' })).estimate.inputTokens).toBe(1_000);
    await town.crash();
    const { inputTokens } = (await town.admit({ session: 's' })).estimate;
    expect(inputTokens, 'from the ratio, though the session is forgotten').toBe(1_000);
  });
});

describe('a budget', () => {
  it('refuses until the window ends, counted but without a write for each', async () => {
    const town = await Town.open({ limits: [limit({ budget: 1_000, windowMs: HOUR })] });
    await town.call(900);
    await town.denied();
    const { revision } = town.disk;
    for (let again = 0; again < 5; again += 1) {
      expect(await town.denied()).toMatchObject({ decision: 'budget', limit: 'tokens' });
    }
    expect(town.disk.revision).toBe(revision);
    expect(await town.view()).toMatchObject({ state: 'exhausted' });
    await town.pass(250);
    expect((await town.view()).counters.refused).toBe(6);
    await town.pass(HOUR);
    expect((await town.ask()).kind).toBe('admitted');
  });
});

describe('a scope is exhausted only while a request like those refused would be', () => {
  it.each(['fixed', 'sliding', 'bucket'] as const)(
    'of a %s window: one larger than the budget passes where nothing is used',
    async (kind) => {
      const town = await Town.open({ limits: [limit({ kind, windowMs: HOUR, budget: 1_000 })] });
      const other = await town.admit();
      expect((await town.ask({ bodyBytes: 10_000 })).kind).toBe('refused');
      expect(await town.view()).toMatchObject({ state: 'exhausted' });
      await town.settle(other, { kind: 'not-sent' });
      await town.pass(MINUTE);
      expect(await town.view()).toMatchObject({ state: 'open', blockedUntil: null });
      expect((await town.ask({ bodyBytes: 10_000 })).kind).toBe('admitted');
    },
  );

  it('and then it is, though a smaller one was refused before', async () => {
    const town = await Town.open({ limits: [limit({ budget: 10_000 })] });
    const large = await town.admit({ bodyBytes: 31_000 });
    await town.denied();
    await town.settle(large, success(8_000));
    expect(await town.view()).toMatchObject({ state: 'open' });
    expect((await town.ask({ bodyBytes: 10_000 })).kind).toBe('refused');
    expect(await town.view()).toMatchObject({ state: 'exhausted' });
  });

  it('of a bucket: it has forgotten those that would pass by now', async () => {
    const bucket = limit({ kind: 'bucket', windowMs: MINUTE, budget: 10_000 });
    const town = await Town.open({ limits: [bucket] });
    await town.admit();
    expect((await town.ask({ bodyBytes: 100_000 })).kind).toBe('refused');
    await town.pass(MINUTE);
    await town.call(100);
    expect(await town.view()).toMatchObject({ state: 'open' });
  });
});

describe('a refusal of the upstream', () => {
  it('blocks everybody before its kind is even read', async () => {
    const town = await Town.open();
    const refused = await town.admit();
    let tell: (refusal: null) => void = () => {};
    const reading = new Promise<null>((resolve) => (tell = resolve));
    void town.governor.refused(refused, reading);
    const waiting = town.ask();
    await town.pass(100);
    await expect(Promise.race([waiting, 'still waiting'])).resolves.toBe('still waiting');
    tell(null);
    await town.pass(0);
    expect((await waiting).kind).toBe('admitted');
  });

  it('sets a cooldown, and the others hear until when', async () => {
    const town = await Town.open();
    await town.refuse(await town.admit(), { statedWaitMs: 10 * MINUTE });
    const { until, now, decision } = await town.denied();
    expect(decision).toBe('cooldown');
    expect(until - now).toBe(10 * MINUTE - 250);
    const view = await town.view();
    expect(view).toMatchObject({ state: 'cooldown', blockedUntil: until });
    expect(view.cooldown).toMatchObject({ kind: 'quota', episode: 1, consecutive: 1 });
    expect(view.limits[0]?.cooldown, 'the refusal named no limit').toBeNull();
  });

  it('belongs to a limit where it names one', async () => {
    const town = await Town.open({ limits: [limit({ name: '5h' }), limit({ name: '7d' })] });
    const named = [{ name: '7d', windowMs: 7 * 24 * HOUR }];
    await town.refuse(await town.admit(), { statedWaitMs: 10 * HOUR, limits: named });
    const { limits } = await town.view();
    expect(limits.map(({ cooldown }) => cooldown?.kind)).toEqual([undefined, 'quota']);
  });

  it('becomes the sample of its episode, and sets the budget 3 % below', async () => {
    const town = await Town.open({ limits: [limit({ budget: 10_000 })] });
    for (let calls = 0; calls < 8; calls += 1) await town.call(1_000);
    await town.refuse(await town.admit(), { statedWaitMs: HOUR });
    const view = await town.view();
    expect(view.calibration.samples).toMatchObject([{ tokens: 8_000, accepted: true }]);
    expect(view.limits[0]?.budget).toMatchObject({
      initial: 10_000,
      floor: 3_000,
      ceiling: 20_000,
      current: 7_760,
      learned: 8_000,
      source: 'learned',
    });
  });

  it('waits with its sample for what was in flight', async () => {
    const town = await Town.open();
    for (let calls = 0; calls < 8; calls += 1) await town.call(1_000);
    const [first, second, third] = [await town.admit(), await town.admit(), await town.admit()];
    await town.refuse(first, { statedWaitMs: HOUR });
    await town.refuse(second, { statedWaitMs: HOUR });
    expect((await town.view()).calibration.samples).toEqual([]);
    await town.settle(third, success(444));
    const { calibration, counters } = await town.view();
    expect(calibration.samples).toMatchObject([{ tokens: 8_444, accepted: true }]);
    expect(counters.upstream429).toBe(2);
  });

  it('ends our window at its stated end, and the next one begins with the probe', async () => {
    const town = await Town.open({ limits: [limit({ budget: 10_000 })] });
    await town.call(8_000);
    await town.refuse(await town.admit(), { statedWaitMs: HOUR });
    await town.pass(HOUR);
    const probe = await town.admit();
    expect(probe.grant.ticket.role).toBe('probe');
    town.governor.succeeded(probe, []);
    await town.settle(probe, success(100));
    expect(await town.view()).toMatchObject({ state: 'open', cooldown: null });
    expect(await town.limitView()).toMatchObject({ used: 100 });
    expect(town.happened('episode-ended')).toHaveLength(1);
  });

  it('in the answer that the probe was accepted with begins the next episode', async () => {
    const town = await Town.open();
    await town.refuse(await town.admit(), { statedWaitMs: HOUR });
    await town.pass(2 * HOUR);
    const probe = await town.admit();
    town.governor.succeeded(probe, []);
    await town.pass(250);
    expect((await town.view()).state).toBe('open');
    const late = await town.admit();
    await town.refuse(probe, { statedWaitMs: MINUTE });
    const { state, cooldown } = await town.view();
    expect([state, cooldown]).toMatchObject(['cooldown', { episode: 2, consecutive: 1 }]);
    // What was let through meanwhile is of the episode before.
    await town.refuse(late, { statedWaitMs: HOUR });
    expect((await town.view()).cooldown).toEqual(cooldown);
  });

  it('in the same breath as the probe’s success climbs, or begins: nothing passes', async () => {
    const town = await Town.open();
    await town.refuse(await town.admit(), { statedWaitMs: MINUTE });
    await town.pass(2 * MINUTE);
    const probe = await town.admit();
    town.governor.succeeded(probe, []);
    await town.refuse(probe, { statedWaitMs: MINUTE });
    expect(await town.denied()).toMatchObject({ decision: 'cooldown' });
  });

  it('in the answer of one that ended no episode is of its own episode still', async () => {
    const town = await Town.open();
    const early = await town.admit();
    town.governor.succeeded(early, []);
    await town.refuse(await town.admit(), { statedWaitMs: MINUTE });
    const { cooldown } = await town.view();
    await town.refuse(early, { statedWaitMs: HOUR });
    expect((await town.view()).cooldown).toEqual(cooldown);
  });

  it('ends a window a length from now at the latest, however long it asks to wait', async () => {
    const town = await Town.open({ limits: [limit({ budget: 10_000 })] });
    await town.call(1_000);
    await town.refuse(await town.admit(), { statedWaitMs: 300 * DAY });
    void town.governor.clearCooldown('test');
    await town.pass(0);
    await town.call(8_990);
    await town.denied();
    await town.pass(5 * HOUR);
    await town.call(10);
    expect((await town.limitView()).used).toBe(10);
  });

  it('that says nothing of its kind becomes a sample only if the probe is refused too', async () => {
    const refusedTwice = await Town.open();
    await refusedTwice.call(5_000);
    await refusedTwice.refuse(await refusedTwice.admit(), { kind: 'unknown' });
    expect((await refusedTwice.view()).calibration.samples).toEqual([]);
    await refusedTwice.pass(30 * SECOND);
    await refusedTwice.refuse(await refusedTwice.admit(), { kind: 'unknown' });
    const { calibration } = await refusedTwice.view();
    expect(calibration.samples).toMatchObject([{ tokens: 5_000, accepted: true }]);

    const refusedOnce = await Town.open();
    await refusedOnce.call(5_000);
    await refusedOnce.refuse(await refusedOnce.admit(), { kind: 'unknown' });
    await refusedOnce.pass(30 * SECOND);
    await refusedOnce.call(100);
    const after = await refusedOnce.view();
    expect(after.calibration.samples).toMatchObject([{ accepted: false, reason: 'unconfirmed' }]);
    expect(after.limits[0]?.budget.learned).toBeNull();
  });

  it.each([
    ['a minute’s rate', { statedWaitMs: 20 * SECOND }, 'rate'],
    ['acceleration', { kind: 'acceleration' }, 'acceleration'],
    ['another limit', { limits: [{ name: 'requests', windowMs: DAY }] }, 'other-limit'],
  ] as const)(
    'that says nothing of its kind is not confirmed by one for %s',
    async (_, told, reason) => {
      const town = await Town.open({ limits: [limit({ budget: 100_000 })] });
      await town.call(40_000);
      await town.refuse(await town.admit(), { kind: 'unknown' });
      await town.pass(30 * SECOND);
      await town.refuse(await town.admit(), told);
      expect((await town.view()).calibration.samples).toMatchObject([{ tokens: 40_000, reason }]);
      expect((await town.limitView()).budget).toMatchObject({ current: 100_000, learned: null });
    },
  );

  it('that comes when its window is over says nothing of the present one', async () => {
    const town = await Town.open();
    await town.call(900_000);
    await town.pass(5 * HOUR - MINUTE);
    const late = await town.admit();
    await town.pass(2 * MINUTE);
    await town.call(5_000);
    await town.refuse(late);
    const { calibration, limits } = await town.view();
    expect(calibration.samples).toMatchObject([{ accepted: false, reason: 'other-window' }]);
    expect(limits[0]?.budget.learned).toBeNull();
  });

  it('of a minute’s rate is waited for and teaches nothing about the window', async () => {
    const town = await Town.open();
    await town.call(5_000);
    await town.refuse(await town.admit(), { statedWaitMs: 20 * SECOND });
    const view = await town.view();
    expect(view.cooldown?.kind).toBe('rate');
    expect(view.calibration.samples).toMatchObject([{ accepted: false, reason: 'rate' }]);
    expect(view.limits[0]?.window.endsAt).toBeGreaterThan(town.time.wall() + 4 * HOUR);
  });

  it('gives one sample an episode, however often its probes are refused', async () => {
    const town = await Town.open({ limits: [limit({ budget: 1_000_000 })] });
    await town.call(50_000);
    await town.refuse(await town.admit());
    for (const wait of [30, 60, 120]) {
      await town.pass(wait * SECOND);
      await town.refuse(await town.admit());
    }
    const { calibration, cooldown } = await town.view();
    expect(cooldown).toMatchObject({ consecutive: 4, episode: 1 });
    expect(calibration).toMatchObject({ accepted: 0, discarded: 4 });
    expect(calibration.samples.map(({ reason }) => reason)).toEqual([
      'below-floor',
      'same-episode',
      'same-episode',
      'same-episode',
    ]);
  });

  it('in passing is relayed, and changes nothing', async () => {
    const town = await Town.open();
    await town.refuse(await town.admit(), { kind: 'transient' });
    expect(await town.view()).toMatchObject({ state: 'open', cooldown: null });
    expect((await town.view()).calibration.samples).toEqual([]);
    expect((await town.ask()).kind).toBe('admitted');
  });

  it('for want of money is terminal, and looked into once an hour', async () => {
    const town = await Town.open();
    await town.refuse(await town.admit(), { kind: 'terminal' });
    expect(await town.view()).toMatchObject({ state: 'terminal' });
    expect(await town.denied()).toMatchObject({ decision: 'terminal' });
    await town.pass(HOUR);
    await town.call(10);
    expect(await town.view()).toMatchObject({ state: 'open' });
  });

  it('for overload pauses briefly and never touches the budget', async () => {
    const town = await Town.open({ limits: [limit({ budget: 10_000 })] });
    const admission = await town.admit();
    void town.governor.overloaded(admission, null);
    await town.pass(0);
    await town.settle(admission, { kind: 'not-a-success' });
    expect(await town.denied()).toMatchObject({ decision: 'overload' });
    const view = await town.view();
    expect(view.counters).toMatchObject({ upstreamOverloaded: 1, upstream429: 0 });
    expect(view.cooldown).toMatchObject({ kind: 'overload', consecutive: 1 });
    expect(view.limits[0]?.budget).toMatchObject({ current: 10_000, learned: null });
    await town.pass(SECOND);
    expect((await town.ask()).kind).toBe('admitted');
  });

  it('for overload in its answers pauses longer each time, until one comes to its end', async () => {
    const town = await Town.open();
    const pauses: number[] = [];
    const fail = async () => {
      const admission = await town.admit();
      town.governor.succeeded(admission, []);
      await town.pass(250);
      void town.governor.overloaded(admission, null);
      await town.settle(admission, success(1, false));
      const { cooldown } = await town.view();
      pauses.push((cooldown!.until - cooldown!.since) / SECOND);
      await town.pass(cooldown!.until - town.time.wall());
    };
    for (let pause = 0; pause < 3; pause += 1) await fail();
    await town.call(1);
    for (let pause = 0; pause < 2; pause += 1) await fail();
    expect(pauses).toEqual([1, 2, 4, 1, 2]);
  });
});

describe('statements of the upstream', () => {
  const reset = (name: string, resetAt: number, windowMs: number | null = null) =>
    statement({ name, windowMs, resetAt });

  it('end the window of their length', async () => {
    const town = await Town.open();
    const admission = await town.admit();
    const resetAt = town.time.wall() + 90 * SECOND;
    const other = reset('7d', town.time.wall() + 70 * HOUR, 7 * 24 * HOUR);
    town.governor.succeeded(admission, [other, reset('5h', resetAt, 5 * HOUR)]);
    await town.settle(admission, success(10));
    expect((await town.limitView()).window.endsAt).toBe(resetAt);
  });

  it('of a minute’s bucket do not end a window of hours', async () => {
    const town = await Town.open();
    const admission = await town.admit();
    const endsAt = (await town.limitView()).window.endsAt;
    const stated = reset('tokens', town.time.wall() + 30 * SECOND, MINUTE);
    town.governor.succeeded(admission, [stated]);
    await town.settle(admission, success(10));
    expect((await town.limitView()).window.endsAt).toBe(endsAt);
  });
});

describe('a learned budget', () => {
  async function exhausted(budget: number | null) {
    const town = await Town.open({ limits: [limit({ budget })] });
    await town.call(8_000);
    await town.refuse(await town.admit(), { kind: 'unknown' });
    await town.pass(30 * SECOND);
    await town.refuse(await town.admit(), { kind: 'unknown' });
    await town.pass(60 * SECOND);
    expect(await town.denied()).toMatchObject({ decision: 'budget' });
    return town;
  }

  it('that is used up is looked into once an hour; success after a refusal is a new window', async () => {
    const town = await exhausted(null);
    await town.pass(HOUR);
    const probe = await town.admit();
    expect(probe.grant.ticket.role).toBe('routine');
    expect(await town.denied(), 'one an hour').toMatchObject({ decision: 'budget' });
    town.governor.succeeded(probe, []);
    await town.settle(probe, success(70));
    expect(await town.limitView()).toMatchObject({ used: 70, reserved: 0 });
    expect(await town.view()).toMatchObject({ state: 'open', cooldown: null });
  });

  it('is left alone after a refusal of such a probe: no rung, no sample', async () => {
    const town = await exhausted(null);
    const before = await town.view();
    await town.pass(HOUR);
    await town.refuse(await town.admit(), { kind: 'unknown' });
    const after = await town.view();
    expect(after.cooldown).toEqual(before.cooldown);
    expect(after.calibration).toEqual(before.calibration);
  });

  it('of the operator is never looked beyond', async () => {
    const town = await Town.open({ limits: [limit({ budget: 8_000 })] });
    await town.call(8_000);
    await town.denied();
    await town.pass(2 * HOUR);
    expect(await town.denied()).toMatchObject({ decision: 'budget' });
  });
});

describe('a success in the middle of a long cooldown', () => {
  const hours = limit({ name: '5h', budget: 1_000_000 });
  const week = limit({ name: '7d', windowMs: 7 * DAY, budget: 5_000_000 });

  /** Used 2,400,000 in the week, and a tenth of it in these five hours. */
  async function busy(limits = [hours, week]): Promise<Town> {
    const town = await Town.open({ limits });
    for (const tokens of [800_000, 800_000, 700_000]) {
      await town.call(tokens);
      await town.pass(5 * HOUR);
    }
    await town.call(100_000);
    return town;
  }

  async function looked(town: Town): Promise<readonly number[]> {
    await town.pass(HOUR);
    const look = await town.admit();
    expect(look.grant.ticket.role).toBe('routine');
    town.governor.succeeded(look, []);
    await town.settle(look, success(10));
    expect(await town.view()).toMatchObject({ state: 'open' });
    return (await town.view()).limits.map(({ used }) => used);
  }

  it.each([
    ['named this limit', [{ name: '5h', windowMs: 5 * HOUR }], [10, 2_400_010]],
    [
      'named one that is not configured',
      [{ name: 'requests', windowMs: DAY }],
      [100_010, 2_400_010],
    ],
    ['named none, with little used', [], [100_010, 2_400_010]],
  ])('begins a window anew only where the refusal %s', async (_, named, used) => {
    const town = await busy();
    await town.refuse(await town.admit(), { statedWaitMs: 2 * HOUR, limits: named });
    expect(await looked(town)).toEqual(used);
  });

  it('begins that of the only limit anew where the refusal named none', async () => {
    const town = await busy([hours]);
    await town.refuse(await town.admit(), { statedWaitMs: 2 * HOUR });
    expect((await town.limitView()).cooldown, 'it named none').toBeNull();
    await town.crash();
    expect(await looked(town)).toEqual([10]);
  });

  it('begins none anew after a refusal of acceleration', async () => {
    const town = await busy([hours]);
    await town.refuse(await town.admit(), { kind: 'acceleration', statedWaitMs: 2 * HOUR });
    expect(await looked(town)).toEqual([100_010]);
  });
});

describe('the job', () => {
  it('ends windows that nobody touched and writes nothing when nothing changed', async () => {
    const town = await Town.open({ limits: [limit({ windowMs: HOUR })] });
    await town.call(10);
    await town.pass(HOUR);
    await town.tick();
    expect(town.happened('window-ended')).toEqual([
      { kind: 'window-ended', limit: 'tokens', used: 10 },
    ]);
    const { revision } = town.disk;
    await town.tick();
    await town.tick();
    expect(town.disk.revision).toBe(revision);
  });

  it('raises a budget in the way, and tells which guard held it back', async () => {
    const town = await Town.open({ limits: [limit({ budget: 1_000 })] });
    await town.call(950);
    await town.denied();
    await town.tick();
    expect((await town.view()).guards).toEqual({ tokens: 'young-traffic' });
    await town.pass(HOUR);
    await town.tick();
    expect((await town.view()).guards).toEqual({ tokens: 'raised' });
    expect((await town.limitView()).budget).toMatchObject({ current: 1_030, initial: 1_000 });
  });
});

describe('a 429 that decides no episode', () => {
  it('of a look beyond a learned budget holds back raises, and the measure of learn mode', async () => {
    const town = await Town.open();
    await town.call(97_000);
    await town.refuse(await town.admit(), { statedWaitMs: 4 * HOUR });
    await town.pass(4 * HOUR);
    await town.call(10);
    await town.pass(5 * HOUR);
    const { initial, current } = (await town.limitView()).budget;
    for (let windows = 0; windows < 4; windows += 1) {
      await town.call((current ?? 0) - 100);
      await town.denied();
      await town.pass(4 * HOUR);
      const look = await town.admit();
      expect(look.grant.ticket.role).toBe('routine');
      await town.refuse(look, { statedWaitMs: 50 * MINUTE });
      await town.tick();
      expect((await town.view()).guards).toEqual({ tokens: 'refused-lately' });
      await town.pass(HOUR);
    }
    expect((await town.limitView()).budget).toMatchObject({ initial, current });
  });

  it('in observe mode, of what our budget would have refused, holds back raises', async () => {
    const town = await Town.open({ observe: true, limits: [limit({ budget: 10_000 })] });
    await town.call(9_900);
    await town.pass(2 * HOUR);
    await town.refuse(await town.admit(), { statedWaitMs: HOUR });
    expect(await town.view()).toMatchObject({ cooldown: null });
    await town.tick();
    expect((await town.view()).guards).toEqual({ tokens: 'refused-lately' });
  });

  it('counts from its charge on where it comes after its window', async () => {
    const town = await Town.open({ limits: [limit({ budget: 1_000_000 })] });
    const late = await town.admit();
    await town.pass(5 * HOUR);
    await town.call(900_000);
    await town.refuse(late, { statedWaitMs: 2 * HOUR });
    await town.pass(HOUR);
    const look = await town.admit();
    expect(look.grant.ticket.role).toBe('routine');
    town.governor.succeeded(look, []);
    await town.settle(look, success(10));
    expect((await town.limitView()).used, 'the present one was not refused').toBe(900_010);
  });
});

describe('the operator', () => {
  it('clears a cooldown', async () => {
    const town = await Town.open();
    await town.refuse(await town.admit(), { statedWaitMs: HOUR });
    void town.governor.clearCooldown('test');
    await town.pass(0);
    expect((await town.ask()).kind).toBe('admitted');
  });

  it('takes back what was learned', async () => {
    const town = await Town.open({ limits: [limit({ budget: 10_000 })] });
    await town.call(8_000);
    await town.refuse(await town.admit(), { statedWaitMs: HOUR });
    void town.governor.resetBudget('test');
    await town.pass(0);
    expect((await town.limitView()).budget).toMatchObject({ current: 10_000, learned: null });
    expect((await town.view()).calibration.samples).toMatchObject([{ reason: 'operator-reset' }]);
  });
});

describe('observe mode', () => {
  it('lets pass what it would refuse, counts it, and decides nothing by it', async () => {
    const town = await Town.open({ observe: true });
    await town.refuse(await town.admit(), { statedWaitMs: HOUR });
    const outcome = await town.ask();
    expect(outcome).toMatchObject({ kind: 'admitted', observed: { decision: 'cooldown' } });
    if (outcome.kind !== 'admitted') return;
    town.governor.succeeded(outcome.admission, []);
    await town.settle(outcome.admission, success(10));
    const view = await town.view();
    expect(view).toMatchObject({ state: 'cooldown', counters: { admitted: 2, refused: 1 } });
  });
});

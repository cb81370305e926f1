import { describe, expect, it } from 'vitest';
import type { Admission, AdmissionOutcome } from '../../src/governor/admission.js';
import type { LimitRules } from '../../src/budget/settings.js';
import { HOUR, limit, MINUTE, SCOPE, SECOND, success, Town } from './support.js';

/** A dozen agents and some more. */
const FIRST = 16;

/** Asks for `count` requests at once; what has been decided of them so far is in the returned list. */
async function askAll(town: Town, count: number, model = 'm'): Promise<AdmissionOutcome[]> {
  const decided: AdmissionOutcome[] = [];
  for (let index = 0; index < count; index += 1) {
    const request = { requestId: `r${index}`, model, session: '', bodyBytes: 1 };
    void town.governor.admit(SCOPE, request).then((outcome) => decided.push(outcome));
  }
  await settleDown(town);
  return decided;
}

/** Those who waited are let through one after another. */
async function settleDown(town: Town): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await town.pass(0);
}

function admissions(outcomes: readonly AdmissionOutcome[]): Admission[] {
  return outcomes.flatMap((outcome) => (outcome.kind === 'admitted' ? [outcome.admission] : []));
}

describe('after a start', () => {
  it('a dozen agents pass at once, and as many again with each round of answers', async () => {
    const town = await Town.open();
    const decided = await askAll(town, 100);
    expect(decided).toHaveLength(FIRST);
    for (const [round, passed] of [32, 64, 100].entries()) {
      const [one] = admissions(decided).slice(-1) as [Admission];
      town.governor.succeeded(one, []);
      await town.pass(SECOND);
      await settleDown(town);
      expect(decided, `round ${round}`).toHaveLength(passed);
    }
    expect(admissions(decided)).toHaveLength(100);
  });

  it('those who come too soon wait in turn, and are told to come back after six seconds', async () => {
    const town = await Town.open();
    const decided = await askAll(town, 40);
    await town.pass(4_999);
    expect(decided).toHaveLength(FIRST);
    await town.pass(250);
    await settleDown(town);
    expect(decided).toHaveLength(2 * FIRST);
    await town.pass(SECOND);
    await settleDown(town);
    expect(admissions(decided)).toHaveLength(2 * FIRST);
    const refused = decided.filter((outcome) => outcome.kind === 'refused');
    expect(refused).toHaveLength(40 - 2 * FIRST);
    for (const { denial } of refused) {
      expect(denial).toMatchObject({ decision: 'probing', until: denial.now + SECOND });
    }
    await town.pass(250);
    expect((await town.view()).counters.refused).toBe(40 - 2 * FIRST);
  });

  it('a crash does not let more through: what died keeps its places until the next round', async () => {
    const town = await Town.open();
    expect(await askAll(town, FIRST)).toHaveLength(FIRST);
    await town.crash();
    const decided = await askAll(town, 3);
    expect(decided).toHaveLength(0);
    await town.pass(5 * SECOND);
    await settleDown(town);
    expect(decided).toHaveLength(1);
  });

  it('a stop lets nobody in who waits: they are told to come back at once', async () => {
    const town = await Town.open();
    const decided = await askAll(town, 40);
    town.governor.releaseHeld();
    await settleDown(town);
    expect(admissions(decided)).toHaveLength(FIRST);
    expect(decided).toHaveLength(40);
    expect(await askAll(town, 1)).toMatchObject([{ kind: 'refused' }]);
  });

  it('nobody is held back any more after half a minute', async () => {
    const town = await Town.open();
    await town.pass(31 * SECOND);
    expect(await askAll(town, 500)).toHaveLength(500);
  });
});

describe('after a cooldown and after idle time', () => {
  it('admission ramps up again, more gently where the upstream refused acceleration', async () => {
    for (const [kind, first] of [
      ['quota', FIRST],
      ['acceleration', 4],
    ] as const) {
      const town = await Town.open();
      await town.pass(MINUTE);
      await town.refuse(await town.admit(), { kind, statedWaitMs: 10 * MINUTE });
      await town.pass(11 * MINUTE);
      const probe = await town.admit();
      town.governor.succeeded(probe, []);
      await town.settle(probe, success(1));
      // The probe was in flight when the ramp began.
      expect(await askAll(town, 40), kind).toHaveLength(first + 1);
    }
  });

  it('admission ramps up again where the operator ended it, and not where there was none to end', async () => {
    for (const [kind, first] of [
      ['quota', FIRST],
      ['acceleration', 4],
      [null, 40],
    ] as const) {
      const town = await Town.open();
      await town.pass(MINUTE);
      if (kind !== null) await town.refuse(await town.admit(), { kind, statedWaitMs: HOUR });
      const cleared = town.governor.clearCooldown('test');
      await town.pass(0);
      await cleared;
      expect(await askAll(town, 40), String(kind)).toHaveLength(first);
    }
  });

  it('admission ramps up again, but not after a pause for breath', async () => {
    const town = await Town.open();
    await town.pass(MINUTE);
    await town.call(1);
    await town.pass(4 * MINUTE);
    await town.call(1);
    expect(await askAll(town, 40)).toHaveLength(40);
    const idle = await Town.open();
    await idle.pass(MINUTE);
    await idle.call(1);
    await idle.pass(5 * MINUTE);
    expect(await askAll(idle, 40)).toHaveLength(FIRST);
  });
});

/** Learned at 10,000, with a budget of 9,700 and 8,700 used; a request has cost far beyond its estimate. */
async function nearLimit(...others: readonly LimitRules[]): Promise<Town> {
  const near = limit({ budget: 20_000, windowMs: HOUR });
  const { name, windowMs } = others.at(-1) ?? near;
  const town = await Town.open({ limits: others.length > 0 ? others : [near] });
  await town.call(9_000);
  await town.call(1_000);
  const refusal = { statedWaitMs: 10 * MINUTE, limits: [{ name, windowMs }] };
  await town.refuse(await town.admit({ model: 'refused' }), refusal);
  await town.pass(11 * MINUTE);
  const probe = await town.admit({ model: 'probe' });
  town.governor.succeeded(probe, []);
  await town.settle(probe, success(8_700));
  await town.pass(MINUTE);
  return town;
}

describe('near a limit that was learned', () => {
  it('a request waits until the cost of the one before it is known, and passes then', async () => {
    const town = await nearLimit();
    const decided = await askAll(town, 2);
    expect(decided).toHaveLength(1);
    const [first] = admissions(decided) as [Admission];
    // The answer begins, and tells what the input was.
    town.governor.amend(first, 100);
    await town.pass(250);
    expect(admissions(decided)).toHaveLength(2);
  });

  it('a request is refused, for the budget, if the one before it went over', async () => {
    const town = await nearLimit();
    const decided = await askAll(town, 2);
    town.governor.amend(admissions(decided)[0] as Admission, 1_500);
    await town.pass(250);
    expect(decided).toHaveLength(2);
    expect(decided[1]).toMatchObject({ kind: 'refused', denial: { decision: 'budget' } });
  });

  it('an input that is as was estimated is known all the same, once it is told', async () => {
    const town = await nearLimit();
    const decided = await askAll(town, 2);
    const [first] = admissions(decided) as [Admission];
    town.governor.amend(first, first.estimate.inputTokens);
    await town.pass(250);
    expect(admissions(decided)).toHaveLength(2);
  });

  describe('where caches have outlived pauses', () => {
    const SESSION = { session: 's', model: 'm' };

    async function send(town: Town, bodyBytes: number, inputTokens: number, cachedTokens: number) {
      const admission = await town.admit({ ...SESSION, bodyBytes });
      await town.settle(admission, { ...success(inputTokens), cachedTokens });
    }

    /** Learned at 9,900, and 9,030 of them used; no request has cost more than its estimate. */
    async function nearLimitWithoutSurprise(): Promise<Town> {
      const town = await Town.open({ limits: [limit({ budget: 20_000, windowMs: HOUR })] });
      const big = await town.admit({ model: 'big', bodyBytes: 40_000 });
      await town.settle(big, success(9_900));
      await town.refuse(await town.admit(), { statedWaitMs: 10 * MINUTE });
      await town.pass(11 * MINUTE);
      const probe = await town.admit({ ...SESSION, bodyBytes: 3_000 });
      town.governor.succeeded(probe, []);
      await town.settle(probe, success(900));
      await town.pass(6 * MINUTE);
      await send(town, 3_030, 9, 900);
      const bigAgain = await town.admit({ model: 'big', bodyBytes: 34_000 });
      await town.settle(bigAgain, success(8_121));
      expect(await town.limitView()).toMatchObject({ used: 9_030 });
      return town;
    }

    it('whoever follows a request that came after a pause waits until its input is known', async () => {
      const town = await nearLimitWithoutSurprise();
      await town.pass(6 * MINUTE);
      const late = await town.admit({ ...SESSION, bodyBytes: 3_060 });
      expect(late.estimate.inputTokens).toBeLessThan(50);
      const decided = await askAll(town, 1);
      expect(decided).toHaveLength(0);
      town.governor.amend(late, 9);
      await town.pass(250);
      expect(admissions(decided)).toHaveLength(1);
    });

    it('nobody waits for one that came without a pause, or that settled, or that a crash ended', async () => {
      const town = await nearLimitWithoutSurprise();
      await town.pass(MINUTE);
      await town.admit({ ...SESSION, bodyBytes: 3_060 });
      expect(admissions(await askAll(town, 1))).toHaveLength(1);

      await town.pass(6 * MINUTE);
      await send(town, 3_090, 9, 900);
      expect(admissions(await askAll(town, 1))).toHaveLength(1);

      await town.pass(6 * MINUTE);
      await town.admit({ ...SESSION, bodyBytes: 3_120 });
      await town.crash();
      expect(town.disk.scopes.get(SCOPE)?.hot.instances).toMatchObject({
        a: { inFlight: 0, guessed: 0, coldTokens: 0 },
      });
    });
  });

  it('observe mode holds nobody back', async () => {
    const town = await Town.open({ observe: true });
    expect(await askAll(town, 40)).toHaveLength(40);
  });
});

describe('near the limit of some models', () => {
  const OPUS = limit({
    name: 'opus',
    budget: 20_000,
    windowMs: HOUR,
    models: ['called', 'refused', 'probe', 'opus'],
  });
  const SHARED = limit({ windowMs: 5 * HOUR });

  it('a request does not wait for what other models cost', async () => {
    const town = await nearLimit(SHARED, OPUS);
    await town.settle(await town.admit({ model: 'opus' }), success(310));
    expect(admissions(await askAll(town, 1, 'sonnet'))).toHaveLength(1);
    expect(admissions(await askAll(town, 1, 'opus'))).toHaveLength(1);
    expect(await askAll(town, 1, 'opus')).toHaveLength(0);
  });

  it('who is held back keeps nobody else waiting', async () => {
    const town = await nearLimit(SHARED, OPUS);
    const opus = await askAll(town, 3, 'opus');
    expect(opus).toHaveLength(1);
    expect(admissions(await askAll(town, 3, 'sonnet'))).toHaveLength(3);
    await town.pass(MINUTE);
    expect(opus).toHaveLength(3);
  });
});

import { describe, expect, it } from 'vitest';
import { TidegateError } from '../../src/platform/tidegate-error.js';
import { FaultyRepository } from './faulty-repository.js';
import { HOUR, limit, SCOPE, SECOND, success, Town, type TownOptions } from './support.js';

async function townWithFaults(options: TownOptions = {}) {
  let store!: FaultyRepository;
  const wrap: TownOptions['wrap'] = (inner) => (store = new FaultyRepository(inner));
  const town = await Town.open({ ...options, wrap });
  return { town, store };
}

describe('while the state can’t be written', () => {
  it('nothing passes: a request waits two seconds, and then is refused', async () => {
    const { town, store } = await townWithFaults();
    store.fault = 'unavailable';
    const asked = town.ask();
    await town.pass(1_999);
    await expect(Promise.race([asked, 'waiting'])).resolves.toBe('waiting');
    await town.pass(1);
    expect(await asked).toMatchObject({ kind: 'state-unavailable' });
    store.mend();
    expect((await town.ask()).kind).toBe('admitted');
  });

  it('a request passes as soon as it can be written again', async () => {
    const { town, store } = await townWithFaults();
    store.fault = 'unavailable';
    const asked = town.ask();
    await town.pass(SECOND);
    store.mend();
    await town.pass(100);
    expect((await asked).kind).toBe('admitted');
    expect((await town.view()).counters.admitted).toBe(1);
  });

  it('an admission that comes too late costs nothing', async () => {
    const { town, store } = await townWithFaults();
    store.fault = 'hangs';
    const asked = town.ask();
    await town.pass(2 * SECOND);
    expect(await asked).toMatchObject({ kind: 'state-unavailable' });
    store.mend();
    await town.pass(0);
    expect((await town.limitView()).used).toBe(406);
    await town.pass(250);
    expect(await town.limitView()).toMatchObject({ used: 0, reserved: 0 });
  });

  it('a charge whose outcome is unknown may stand twice, but never not at all', async () => {
    for (const fault of ['unknown-kept', 'unknown-lost'] as const) {
      const { town, store } = await townWithFaults();
      store.fault = fault;
      const asked = town.ask({ bodyBytes: 1_000 });
      await town.pass(0);
      store.mend();
      await town.pass(100);
      expect((await asked).kind).toBe('admitted');
      expect((await town.limitView()).used).toBe(fault === 'unknown-kept' ? 1_410 : 705);
    }
  });

  it('a charge is not made again and again while outcomes stay unknown', async () => {
    const { town, store } = await townWithFaults();
    store.fault = 'unknown-kept';
    const asked = town.ask({ bodyBytes: 1_000 });
    await town.pass(0);
    await town.pass(100);
    await town.pass(100);
    expect(await asked).toMatchObject({ kind: 'state-unavailable' });
    expect((await town.limitView()).used).toBe(1_410);
  });

  it('a cooldown blocks at once, is repeated until it is durable, and climbs once', async () => {
    for (const fault of ['unavailable', 'unknown-kept', 'unknown-lost'] as const) {
      const { town, store } = await townWithFaults();
      const admission = await town.admit();
      store.fault = fault;
      const told = { status: 429, kind: 'quota', statedWaitMs: HOUR, limits: [], statements: [] };
      const refused = town.governor.refused(admission, Promise.resolve(told as never));
      await town.pass(2 * SECOND);
      await refused;
      const asked = town.ask({ model: 'other' });
      await town.pass(2 * SECOND);
      expect(await asked, 'though the client has its 429').toMatchObject({
        kind: 'state-unavailable',
      });
      store.mend();
      await town.pass(250);
      expect(await town.denied()).toMatchObject({ decision: 'cooldown' });
      expect((await town.view()).cooldown).toMatchObject({ consecutive: 1, episode: 1 });
    }
  });

  it('a settlement waits, and is not lost', async () => {
    const { town, store } = await townWithFaults();
    const admission = await town.admit({ bodyBytes: 1_000 });
    store.fault = 'unavailable';
    town.governor.settle(admission, success(100));
    await town.pass(10 * SECOND);
    expect((await town.limitView()).used).toBe(705);
    store.mend();
    await town.pass(250);
    expect(await town.limitView()).toMatchObject({ used: 100, reserved: 0 });
  });

  it('a refund whose outcome is unknown is not repeated, an excess is', async () => {
    for (const fault of ['unknown-kept', 'unknown-lost'] as const) {
      const { town, store } = await townWithFaults();
      const low = await town.admit({ bodyBytes: 1_000 });
      const high = await town.admit({ bodyBytes: 1_000 });
      store.fault = fault;
      town.governor.settle(low, success(100));
      town.governor.settle(high, success(2_000));
      await town.pass(0);
      store.mend();
      await town.pass(500);
      // They were made together, and each is resolved on its own: the refund is not made again; the excess
      // is, twice, for the first time its outcome was unknown, too.
      const excess = 2_000 - 705;
      const { used } = await town.limitView();
      expect(used).toBe(fault === 'unknown-kept' ? 2_100 + 2 * excess : 2 * 705 + excess);
    }
  });

  it('an amendment whose outcome is unknown never lowers the count below the truth', async () => {
    for (const fault of ['unknown-kept', 'unknown-lost'] as const) {
      for (const input of [10, 5_000]) {
        const { town, store } = await townWithFaults();
        const admission = await town.admit({ bodyBytes: 1_000 });
        store.fault = fault;
        town.governor.amend(admission, input);
        await town.pass(250);
        store.mend();
        await town.settle(admission, success(3_000));
        await town.pass(500);
        expect((await town.limitView()).used, `${fault} ${input}`).toBeGreaterThanOrEqual(3_000);
      }
    }
  });

  it.each(['unavailable', 'unknown-lost'] as const)(
    'what cost more than it was charged is on record before the next request is (%s)',
    async (fault) => {
      const { town, store } = await townWithFaults({ limits: [limit({ budget: 100_000 })] });
      for (let call = 0; call < 8; call += 1) await town.call(10);
      const admission = await town.admit();
      town.governor.amend(admission, 10);
      await town.pass(SECOND);
      store.fault = fault;
      await town.settle(admission, success(99_990));
      store.mend();
      const asked = town.ask({ model: 'other' });
      await town.pass(SECOND);
      expect(await asked).toMatchObject({ kind: 'refused', denial: { decision: 'budget' } });
    },
  );

  it('refusals that can’t be counted wait for one write, and all of them are in it', async () => {
    let full = false;
    let attempts = 0;
    // What changes nothing is decided all the same.
    const decideAtMost: TownOptions['wrap'] = (inner) => ({
      kind: inner.kind,
      shared: inner.shared,
      read: (scope) => inner.read(scope),
      list: () => inner.list(),
      health: () => inner.health(),
      close: () => inner.close(),
      update: (scope, decide) =>
        inner.update(scope, (state, now) => {
          const decided = decide(state, now);
          if (!full || decided.state === state) return decided;
          attempts += 1;
          throw new TidegateError('STATE_UNAVAILABLE', 'the disk is full');
        }),
    });
    const town = await Town.open({ wrap: decideAtMost });
    await town.refuse(await town.admit(), { statedWaitMs: HOUR });
    const before = (await town.view()).counters.refused;
    full = true;
    for (let second = 0; second < 60; second += 1) {
      attempts = 0;
      for (let n = 0; n < 4; n += 1) {
        await town.denied();
        await town.pass(250);
      }
      // One that is tried again every 250 ms.
      expect(attempts).toBeLessThanOrEqual(5);
    }
    full = false;
    await town.denied();
    await town.pass(SECOND);
    expect((await town.view()).counters.refused).toBe(before + 241);
    await town.denied();
    await town.stop();
    expect(town.disk.scopes.get(SCOPE)!.hot.counters.refused).toBe(before + 242);
  });

  it('observe mode lets pass what it can’t record', async () => {
    const { town, store } = await townWithFaults({ observe: true });
    store.fault = 'unavailable';
    const asked = town.ask();
    await town.pass(2 * SECOND);
    expect(await asked).toMatchObject({ kind: 'state-unavailable' });
  });

  it('a charge that nobody will settle is orphaned at the next quiet moment', async () => {
    const { town, store } = await townWithFaults({ limits: [limit({ budget: 10_000 })] });
    store.fault = 'unknown-kept';
    const asked = town.ask({ bodyBytes: 1_000 });
    await town.pass(0);
    store.mend();
    await town.pass(100);
    const outcome = await asked;
    if (outcome.kind !== 'admitted') throw new Error('refused');
    await town.settle(outcome.admission, success(10));
    expect(await town.limitView()).toMatchObject({ used: 715, reserved: 705 });
    await town.tick();
    expect(await town.limitView()).toMatchObject({ used: 715, reserved: 0, orphaned: 705 });
  });
});

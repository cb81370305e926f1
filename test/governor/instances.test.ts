import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { countInFlight, NONE_IN_FLIGHT } from '../../src/governor/instances.js';
import { TidegateError } from '../../src/platform/tidegate-error.js';
import type { HotState } from '../../src/state/scope-state.js';
import type { StateRepository } from '../../src/state/state-repository.js';
import { HOUR, instead, limit, MINUTE, SCOPE, SECOND, success, Town, twice } from './support.js';

it('what is in flight is never less than nothing, and nothing guessed leaves no tokens in doubt', () => {
  const change = fc.record({
    inFlight: fc.constantFrom(1, 0, -1),
    guessed: fc.constantFrom(1, 0, -1),
    coldTokens: fc.nat(1_000),
  });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 20 }), (changes) => {
      let instances: HotState['instances'] = {};
      for (const by of changes as Parameters<typeof countInFlight>[2][]) {
        instances = countInFlight(instances, 'a', by, 0);
        const { inFlight = 0, guessed = 0, coldTokens = 0 } = instances['a'] ?? {};
        expect(Math.min(inFlight, guessed, coldTokens)).toBeGreaterThanOrEqual(0);
        expect(guessed).toBeLessThanOrEqual(inFlight);
        if (guessed === 0) expect(coldTokens).toBe(0);
      }
    }),
  );
});

it('an instance that had to go for others is not counted again when its request settles', () => {
  const settled = { inFlight: -1, guessed: -1, coldTokens: 0 } as const;
  expect(countInFlight({}, 'gone', settled, 0)).toEqual({});
});

it('an answer that settles after its stop does not take that back, and a new request does', () => {
  const stopped = {
    startedAt: 0,
    seenAt: 1,
    stoppedAt: 2,
    turn: null,
    ...NONE_IN_FLIGHT,
    inFlight: 1,
  };
  const by = { guessed: 0, coldTokens: 0 } as const;
  const after = (inFlight: 1 | 0 | -1) =>
    countInFlight({ a: stopped }, 'a', { ...by, inFlight }, 3)['a']?.stoppedAt;
  expect([after(-1), after(0), after(1)]).toEqual([2, 2, null]);
});

it('a replica that fell silent has nothing in flight any more', async () => {
  const town = await Town.open();
  const state = town.disk.scopes.get(SCOPE)!;
  const silent = { startedAt: town.time.wall(), seenAt: town.time.wall(), stoppedAt: null };
  const flying = { inFlight: 3, guessed: 2, coldTokens: 500, turn: null };
  const instances = { ...state.hot.instances, b: { ...silent, ...flying } };
  town.disk.scopes.set(SCOPE, { ...state, hot: { ...state.hot, instances } });
  await town.pass(HOUR);
  await town.tick();
  expect(town.disk.scopes.get(SCOPE)?.hot.instances['b']).toMatchObject(NONE_IN_FLIGHT);
});

it.each([
  ['', (same: StateRepository) => same],
  [', also if its update takes two attempts', twice],
])(
  'another that has started under the same name is told of, once for each time%s',
  async (_, wrap) => {
    const town = await Town.open({ wrap });
    const first = town.governor;
    const look = async () => {
      await first.tick();
      return town.happened('name-shared').length;
    };
    expect(await look(), 'it is alone').toBe(0);
    for (const times of [1, 2]) {
      await town.pass(SECOND);
      await town.start();
      expect(await look()).toBe(times);
      expect(await look(), 'told already').toBe(times);
    }
  },
);

it('one that waits for requests is heard of every hour, if others share the store', async () => {
  for (const shared of [true, false]) {
    const town = await Town.open({ wrap: (inner) => instead(inner, { shared }) });
    const startedAt = town.time.wall();
    const seen = new Set<number>();
    for (let minute = 0; minute < 300; minute += 1) {
      await town.pass(MINUTE);
      await town.tick();
      const { seenAt } = town.disk.scopes.get(SCOPE)!.hot.instances['a']!;
      seen.add(seenAt - startedAt);
    }
    expect([...seen]).toEqual(shared ? [0, 1, 2, 3, 4, 5].map((hour) => hour * HOUR) : [0]);
  }
});

/** A store whose clock can be found six hours behind the record. */
function steppingClock() {
  let offsetMs = 0;
  const wrap = (inner: StateRepository) =>
    instead(inner, {
      update: (scope, decide) => inner.update(scope, (state, now) => decide(state, now + offsetMs)),
    });
  const setBack = (town: Town) => {
    const recordedAt = town.time.wall();
    offsetMs = -6 * HOUR;
    const state = town.disk.scopes.get(SCOPE)!;
    const lost = { reason: 'clock', at: recordedAt + offsetMs, recordedAt } as const;
    town.disk.scopes.set(SCOPE, { ...state, hot: { ...state.hot, lost } });
  };
  return { wrap, setBack };
}

describe('of two processes under one name', () => {
  const record = (town: Town) => town.disk.scopes.get(SCOPE)!.hot.instances['a']!;
  const isUnclean = (town: Town) => town.disk.scopes.get(SCOPE)!.cold.starts['a']!.at(-1)!.unclean;
  const overlap = async (town: Town) => {
    const old = town.governor;
    await town.pass(SECOND);
    await town.start();
    return old;
  };
  const stop = async (town: Town, governor = town.governor) => {
    const stopped = governor.stop(5 * SECOND);
    await town.pass(0);
    await stopped;
  };

  it.each([
    ['before a look', false],
    ['after it', true],
  ])('the one that goes on is not stopped by the stop of the older one, %s', async (_, looks) => {
    const town = await Town.open();
    const old = await overlap(town);
    if (looks) await old.tick();
    await town.pass(SECOND);
    await stop(town, old);
    expect(record(town).stoppedAt).toBeNull();
    await town.crash();
    expect(isUnclean(town)).toBe(true);
    await town.stop();
    await town.start();
    expect(isUnclean(town)).toBe(false);
  });

  it('the older one that goes on is heard of again, by its job or a request', async () => {
    for (const goOn of ['tick', 'admission']) {
      const town = await Town.open();
      const old = await overlap(town);
      await stop(town);
      expect(record(town).stoppedAt).not.toBeNull();
      town.governor = old;
      await (goOn === 'tick' ? town.tick() : town.admit());
      expect(record(town).stoppedAt, goOn).toBeNull();
    }
  });

  it.each(['look', 'admission', 'stop'])(
    'the older one that outlives the other is stopped by its own stop, found out by its %s',
    async (by) => {
      for (const knowsOfIt of [false, true]) {
        const town = await Town.open();
        const old = await overlap(town);
        if (knowsOfIt) await old.tick();
        await town.pass(SECOND);
        await stop(town);
        town.governor = old;
        await town.pass(SECOND);
        if (by === 'look') await town.tick();
        if (by === 'admission') await town.settle(await town.admit(), success(1));
        await town.pass(SECOND);
        await stop(town);
        expect(record(town).stoppedAt).toBe(town.time.wall());
        await town.start();
        expect(isUnclean(town)).toBe(false);
      }
    },
  );

  it('and by a crash it is not, nor by its stop after a third one has crashed', async () => {
    for (const crashes of ['itself', 'another']) {
      const town = await Town.open();
      const old = await overlap(town);
      await stop(town);
      await old.tick();
      await town.pass(SECOND);
      if (crashes === 'another') {
        await town.start();
        await town.pass(SECOND);
        await stop(town, old);
      }
      expect(record(town).stoppedAt, crashes).toBeNull();
      await town.crash();
      expect(isUnclean(town), crashes).toBe(true);
    }
  });

  it('which is which can be told although the clock was set back meanwhile', async () => {
    for (const overlaps of [false, true]) {
      const { wrap, setBack } = steppingClock();
      const town = await Town.open({ wrap });
      setBack(town);
      await town.tick();
      const stopping = overlaps ? await overlap(town) : town.governor;
      await stop(town, stopping);
      expect(record(town).stoppedAt === null).toBe(overlaps);
    }
  });

  it('a clock that was set back, and is over with before the next look, hides no stop', async () => {
    const { wrap, setBack } = steppingClock();
    const town = await Town.open({ wrap, limits: [limit({ windowMs: MINUTE })] });
    setBack(town);
    await town.settle(await town.admit(), success(1));
    await town.pass(2 * MINUTE);
    await town.tick();
    await stop(town);
    expect(record(town).stoppedAt).not.toBeNull();
  });

  it('a start that is decided again while a look waits for it is nobody else’s', async () => {
    let fails = false;
    let waits = false;
    const waiting: (() => void)[] = [];
    const wrap = (inner: StateRepository) =>
      instead(inner, {
        update: async (scope, decide) => {
          if (fails) {
            fails = false;
            waits = true;
            const { state, now } = await inner.read(scope);
            decide(state, now);
            throw new TidegateError('STATE_UNAVAILABLE', 'read-only for a moment');
          }
          if (waits) await new Promise<void>((resolve) => waiting.push(resolve));
          return inner.update(scope, decide);
        },
      });
    const town = await Town.open({ wrap });
    await stop(town);
    await town.pass(SECOND);
    fails = true;
    const started = town.start();
    for (let second = 0; second < 10 && waiting.length === 0; second += 1) await town.pass(SECOND);
    const ticked = town.governor.tick();
    await town.pass(0);
    expect(waiting).toHaveLength(2);
    waits = false;
    for (const goOn of waiting) {
      goOn();
      await town.pass(0);
    }
    await Promise.all([started, ticked]);
    expect(town.happened('name-shared')).toEqual([]);
    await stop(town);
    expect(record(town).stoppedAt).not.toBeNull();
  });

  it('what a look found is nothing against a start that was decided anew before it was told', async () => {
    let fails = false;
    let isHeldBack = false;
    let tell = () => {};
    const wrap = (inner: StateRepository) =>
      instead(inner, {
        update: async (scope, decide) => {
          if (fails) {
            fails = false;
            const { state, now } = await inner.read(scope);
            decide(state, now);
            throw new TidegateError('STATE_UNAVAILABLE', 'read-only for a moment');
          }
          const holdsBack = isHeldBack;
          isHeldBack = false;
          const outcome = await inner.update(scope, decide);
          if (holdsBack) await new Promise<void>((resolve) => (tell = resolve));
          return outcome;
        },
      });
    const town = await Town.open({ wrap });
    await stop(town);
    await town.pass(SECOND);
    fails = true;
    const started = town.start();
    const old = town.governor;
    await town.pass(1);
    await town.start();
    isHeldBack = true;
    const ticked = old.tick();
    await town.pass(SECOND);
    await started;
    tell();
    await ticked;
    await stop(town, old);
    expect(record(town).stoppedAt).not.toBeNull();
  });

  it.each([false, true])(
    'a run whose start is not on record leaves that of the run before as it is (stopped: %s)',
    async (stopped) => {
      let fails = false;
      const wrap = (inner: StateRepository) =>
        instead(inner, {
          update: async (scope, decide) => {
            if (!fails) return inner.update(scope, decide);
            const { state, now } = await inner.read(scope);
            decide(state, now);
            throw new TidegateError('STATE_UNAVAILABLE', 'the disk is full');
          },
        });
      const town = await Town.open({ wrap });
      if (stopped) await stop(town);
      const before = record(town);
      await town.pass(SECOND);
      fails = true;
      void town.start();
      await town.pass(0);
      fails = false;
      await town.tick();
      await stop(town);
      expect(record(town)).toEqual(before);
      expect(before.stoppedAt !== null).toBe(stopped);
    },
  );
});

import fc from 'fast-check';
import { expect, it } from 'vitest';
import { countInFlight, NONE_IN_FLIGHT } from '../../src/governor/instances.js';
import type { HotState } from '../../src/state/scope-state.js';
import type { StateRepository } from '../../src/state/state-repository.js';
import { HOUR, MINUTE, SCOPE, SECOND, Town } from './support.js';

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

it('a replica that fell silent has nothing in flight any more', async () => {
  const town = await Town.open();
  const state = town.disk.scopes.get(SCOPE)!;
  const silent = { startedAt: town.time.wall(), seenAt: town.time.wall(), stoppedAt: null };
  const flying = { inFlight: 3, guessed: 2, coldTokens: 500 };
  const instances = { ...state.hot.instances, b: { ...silent, ...flying } };
  town.disk.scopes.set(SCOPE, { ...state, hot: { ...state.hot, instances } });
  await town.pass(HOUR);
  await town.tick();
  expect(town.disk.scopes.get(SCOPE)?.hot.instances['b']).toMatchObject(NONE_IN_FLIGHT);
});

/** Every update takes two attempts, as where a row was changed by others meanwhile. */
function twice(repository: StateRepository): StateRepository {
  const update: StateRepository['update'] = (scope, decide) =>
    repository.update(scope, (state, now) => {
      decide(state, now);
      return decide(state, now);
    });
  return instead(repository, { update });
}

function instead(repository: StateRepository, other: Partial<StateRepository>): StateRepository {
  return new Proxy(repository, {
    get: (target, key) => {
      const value: unknown = Reflect.get(key in other ? other : target, key);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

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

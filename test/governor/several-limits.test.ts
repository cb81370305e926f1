import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { LimitRules } from '../../src/budget/settings.js';
import { OPUS, runSeveralLimits, type SeveralLimits, SONNET } from './several-limits.js';
import { HOUR, limit, MINUTE } from './support.js';

/** A limit that the upstream has, and that Tidegate is told about, with a budget or to learn. */
function upstreamLimit(granted: number, rules: Partial<LimitRules> & { name: string }) {
  return fc
    .constantFrom(null, granted, Math.round(1.3 * granted))
    .map((budget) => ({ rules: limit({ ...rules, budget }), granted }));
}

const KIND = fc.constantFrom('fixed', 'sliding', 'bucket');
const POOL = [`${OPUS}*`];
const LIMITS = fc
  .tuple(KIND, KIND)
  .chain(([kind, longKind]) =>
    fc.tuple(
      upstreamLimit(40, { name: 'requests', unit: 'requests', kind, windowMs: MINUTE }),
      upstreamLimit(300_000, { name: 'tokens', kind: longKind, windowMs: 20 * MINUTE }),
      upstreamLimit(60_000, { name: 'opus', kind: longKind, windowMs: 20 * MINUTE, models: POOL }),
    ),
  );

const WORLD: fc.Arbitrary<SeveralLimits> = fc.record({
  seed: fc.nat(1_000),
  limits: LIMITS,
  named: fc.boolean(),
  waits: fc.boolean(),
  states: fc.boolean(),
  agents: fc.constantFrom(4, 12, 30),
  opusShare: fc.constantFrom(0.3, 0.5),
  crashes: fc.constantFrom(0, 0, 6),
});

/**
 * Beside agents that come back at once, again and again, whatever they are told: at most this share of their refusals,
 * beyond some for limits nobody told of, and at least this share of their tokens. *Dark*: neither refusals nor answers
 * tell which limit is which, so that the refusal of one model holds up the other, too.
 */
const TOLD = { refused: 0.1, served: 0.75 };
const DARK = { refused: 0.3, served: 0.15 };
const REFUSALS_TO_LEARN = 40;
/** Models compete for the limits that they share; none of them is shut out. */
const SERVED_OF_EACH = 0.03;

const sum = (counts: ReadonlyMap<string, number>) =>
  [...counts.values()].reduce((total, count) => total + count, 0);

it('whatever the limits, little is refused, every model gets on, and nothing stays in flight', async () => {
  await fc.assert(
    fc.asyncProperty(WORLD, async (world) => {
      const bare = await runSeveralLimits(world, false);
      const governed = await runSeveralLimits(world, true);
      const share = world.named || world.states ? TOLD : DARK;
      const most = share.refused * sum(bare.refusals) + REFUSALS_TO_LEARN;
      expect(sum(governed.refusals)).toBeLessThanOrEqual(most);
      expect(sum(governed.served)).toBeGreaterThanOrEqual(share.served * sum(bare.served));
      for (const [model, tokens] of bare.served) {
        expect(governed.served.get(model), model).toBeGreaterThanOrEqual(SERVED_OF_EACH * tokens);
      }
      const { instances, limits } = governed.hot;
      expect(Object.values(instances).map(({ inFlight }) => inFlight)).toEqual([0]);
      for (const { unsettled } of Object.values(limits)) expect(unsettled).toEqual({});
      if (world.crashes === 0) expect(governed.orphaned).toBe(0);
    }),
    { numRuns: 6 },
  );
  // Hours of a dozen worlds: seconds alone, and half a minute beside other work.
}, 120_000);

it('a model whose own limit is used up holds up no other', async () => {
  const pool = limit({ name: 'opus', windowMs: 5 * HOUR, models: POOL });
  const world: SeveralLimits = {
    seed: 1,
    limits: [
      { rules: limit({ windowMs: 20 * MINUTE }), granted: 1_000_000 },
      { rules: pool, granted: 30_000 },
    ],
    named: true,
    waits: true,
    states: false,
    agents: 12,
    opusShare: 0.5,
    crashes: 0,
  };
  const bare = await runSeveralLimits(world, false);
  const governed = await runSeveralLimits(world, true);
  expect(bare.refusals.get('opus')).toBeGreaterThan(100);
  expect(governed.refusals.get('opus')).toBeLessThan(10);
  expect(governed.served.get(SONNET)).toBeGreaterThan(0.95 * (bare.served.get(SONNET) ?? 0));
});

import fc from 'fast-check';
import { expect, it } from 'vitest';
import { run, world } from './worlds.js';

/**
 * Worlds that nobody thought of: clocks stepped, processes killed, limits changed, others, every kind of
 * window and header together. Whatever a decision makes of the state must be fit to be saved (the store
 * asserts that), the run must come to its end, and the upstream may not refuse more than its ladder allows.
 */
const WINDOWS = 4;
const LIMIT = 100_000;
/** Waits of the ladder from its first rung on, the last one again and again, and the hourly looks. */
const MOST_REFUSALS_A_WINDOW = 75;

const kind = fc.constantFrom('fixed', 'fixed', 'sliding', 'bucket');
const WORLD = kind.chain((windowKind) =>
  fc.record({
    seed: fc.nat(1_000),
    windows: fc.constant(WINDOWS),
    replicas: fc.constantFrom(1, 3),
    upstream: fc.record({
      kind: fc.constant(windowKind),
      limit: fc.constant(LIMIT),
      headers: fc.constantFrom('none', 'anthropic', 'unified', 'openai'),
      retryAfter: fc.boolean(),
      othersUse: fc.constantFrom(0, 0, 0.3),
      overload: fc.constantFrom(0, 0.01),
      changes: fc.constantFrom(
        [],
        [{ at: '6h', limit: 0.6 * LIMIT }],
        [{ at: '6h', limit: 2 * LIMIT }],
      ),
    }),
    governor: fc.record({
      budget: fc.constantFrom(null, 0.6 * LIMIT, 1.5 * LIMIT),
      windowKind: fc.constant(windowKind),
    }),
    demand: fc.record({
      load: fc.constantFrom(0.5, 1.5, 3),
      sessions: fc.constantFrom(2, 12, 60),
      tokens: fc.constantFrom(
        { median: 700, p90: 4_200, p99: 54_000 },
        { median: 100, p90: 300, p99: 800 },
      ),
      seconds: fc.constantFrom({ median: 5, p95: 24 }, { median: 60, p95: 300 }),
    }),
    restarts: fc.constantFrom(
      [],
      ...['kill', 'stop'].map((how) => [{ at: '7h', every: '5m', count: 17, kind: how }]),
    ),
    clock: fc.constantFrom([], [{ at: '8h', step: '-3h' }], [{ at: '8h', step: '3h' }]),
  }),
);

it('any world comes to its end, with a state fit to be saved and few refusals', async () => {
  await fc.assert(
    fc.asyncProperty(WORLD, async (described) => {
      const { windows } = await run(world(described));
      expect(windows).toHaveLength(WINDOWS);
      const refusals = windows.map(({ upstream429 }) => upstream429);
      expect(Math.max(...refusals)).toBeLessThanOrEqual(MOST_REFUSALS_A_WINDOW);
    }),
    { numRuns: 12 },
  );
});

import { expect, it } from 'vitest';
import { readWorld } from '../../src/simulate/read-world.js';
import { run } from './worlds.js';

/**
 * Learn mode on every kind of window, in a small world in which all goes wrong: kills, overload, hiccups, others,
 * a limit that falls. None of it may end the process, or the use.
 */
const LIMIT = 60_000;
const WORLDS = ['fixed', 'sliding', 'bucket'].flatMap((kind) =>
  ['none', 'unified'].map((headers) => ({ kind, headers })),
);

it.each(WORLDS)('a $kind window to be learned, headers $headers', async ({ kind, headers }) => {
  const described = {
    windows: 8,
    upstream: {
      kind,
      headers,
      window: '1m',
      limit: LIMIT,
      changes: [{ at: '5m', limit: 0.6 * LIMIT }],
      othersUse: 0.1,
      transient429: 0.01,
      overload: 0.01,
    },
    governor: { window: '1m', windowKind: kind },
    demand: { load: 1.5, sessions: 20 },
    restarts: [{ at: '90s', every: '47s', count: 4, kind: 'kill' }],
  };
  const read = readWorld(JSON.stringify(described), 'world.json', () => '');
  if (!read.ok) throw new Error(JSON.stringify(read.problems));
  const { totals, windows } = await run(read.world);
  expect(windows).toHaveLength(8);
  expect(totals.utilisation).toBeGreaterThan(0.3);
  // Whatever is decided on what is in flight: no window gets more than its limit and what a kill forgot of it.
  for (const each of windows) expect(each.admittedTokens).toBeLessThan(2.2 * LIMIT);
});

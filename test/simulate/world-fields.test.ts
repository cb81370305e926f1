import { describe, expect, it } from 'vitest';
import { readWorld } from '../../src/simulate/read-world.js';
import type { SimulationResult } from '../../src/simulate/results.js';
import { simulate } from '../../src/simulate/simulation.js';
import { HOUR, MILLION, run, world } from './worlds.js';

/** Each field of a world has its effect: with it the run differs from the one without, in the way it says. */

type Overrides = Parameters<typeof world>[0];

function short(overrides: Overrides = {}) {
  return world({ windows: 3, ...overrides });
}

/** The world that the others differ from. */
const PLAIN = run(short());

/** How often something happened in a run. */
async function eventsIn(overrides: Overrides): Promise<Readonly<Record<string, number>>> {
  const counts: Record<string, number> = {};
  await simulate(short(overrides), {
    strategy: 'tidegate',
    onEvent: ({ kind }) => (counts[kind] = (counts[kind] ?? 0) + 1),
  });
  return counts;
}

const waits = ({ windows }: SimulationResult) => windows.map(({ longestWaitMs }) => longestWaitMs);
const LOW = { load: 0.3 };

describe('a world', () => {
  it('with `overload` makes the upstream answer 529 now and then, which pauses and teaches nothing', async () => {
    const calm = await eventsIn({ demand: LOW });
    const busy = await eventsIn({ demand: LOW, upstream: { overload: 0.02 } });
    expect(calm['overload-pause']).toBeUndefined();
    expect(busy['overload-pause']).toBeGreaterThan(3);
    expect(busy['sample']).toBeUndefined();
  });

  it('with `transient429` refuses some for no reason, which is no cooldown by itself', async () => {
    const refused = await run(short({ demand: LOW, upstream: { transient429: 0.01 } }));
    expect(refused.totals.upstream429).toBeGreaterThan(1);
    const events = await eventsIn({ demand: LOW, upstream: { transient429: 0.01 } });
    expect(events['transient-refusal']).toBeGreaterThan(1);
    expect(events['sample']).toBeUndefined();
  });

  it('with `othersUse` has less for us', async () => {
    const { windows } = await run(short({ upstream: { othersUse: 0.3 } }));
    for (const { othersTokens, admittedTokens } of windows) {
      expect(othersTokens).toBeGreaterThan(0.1 * MILLION);
      expect(admittedTokens).toBeLessThan(0.9 * MILLION);
    }
  });

  it('with `changes` has another limit from then on', async () => {
    const changes = [{ at: '6h', limit: 700_000 }];
    const { windows } = await run(short({ upstream: { changes } }));
    expect(windows[0]?.upstreamLimit).toBe(MILLION);
    expect(windows.at(-1)?.upstreamLimit).toBe(700_000);
  });

  it('without `retryAfter` lets the ladder find out when the window ends', async () => {
    const told = await eventsIn({});
    const untold = await eventsIn({ upstream: { retryAfter: false } });
    expect(told['cooldown-climbed'] ?? 0).toBe(0);
    expect(untold['cooldown-climbed']).toBeGreaterThan(0);
  });

  it('with `kind` counts otherwise: a sliding window frees while it is in use', async () => {
    const sliding = { upstream: { kind: 'sliding' }, governor: { windowKind: 'sliding' } };
    const { windows } = await run(short(sliding));
    expect(windows.map(({ start }) => start)).toEqual([0, 5 * HOUR, 10 * HOUR]);
    // Those of a fixed kind begin with a request.
    const fixed = await PLAIN;
    expect(fixed.windows[1]?.start).toBeGreaterThan(5 * HOUR);
  });

  it.each(['anthropic', 'unified', 'openai'])(
    'with `headers: %s` says what is left',
    async (headers) => {
      const silent = await PLAIN;
      const spoken = await run(short({ upstream: { headers } }));
      expect(spoken.windows).not.toEqual(silent.windows);
      expect(spoken.totals.upstream429).toBeLessThanOrEqual(silent.totals.upstream429);
    },
  );

  it('with `clock` has a wall clock that somebody sets, seen by the processes that start after it', async () => {
    const restarts = [{ at: '11h', kind: 'stop' }];
    const clock = [{ at: '10h', step: '-3h' }];
    expect((await eventsIn({ restarts }))['cautious-began']).toBeUndefined();
    expect((await eventsIn({ restarts, clock }))['cautious-began']).toBe(1);
  });

  it('with `restarts` kills a process in mid-stream, or lets what runs end first', async () => {
    const restarts = (kind: string) => [{ at: '1h', every: '5m', count: 17, kind }];
    const killed = await eventsIn({ restarts: restarts('kill') });
    const stopped = await eventsIn({ restarts: restarts('stop') });
    expect(killed['unclean-start']).toBe(17);
    expect(killed['charge-orphaned']).toBeGreaterThan(0);
    expect(stopped['unclean-start']).toBeUndefined();
    expect(stopped['charge-orphaned']).toBeUndefined();
  });

  it('with `replicas` has them spend one budget; a kill hits one of them', async () => {
    const restarts = [{ at: '1h', kind: 'kill' }];
    const { windows } = await run(short({ replicas: 4 }));
    for (const { admittedTokens } of windows) expect(admittedTokens).toBeLessThan(1.1 * MILLION);
    expect((await eventsIn({ replicas: 4, restarts }))['unclean-start']).toBe(1);
  });

  it('with `sessions` has so many agents wait, and no more', async () => {
    const few = await run(short({ demand: { load: 3, sessions: 2 } }));
    const many = await run(short({ demand: { load: 3, sessions: 60 } }));
    const refusals = ({ windows }: SimulationResult) =>
      windows.reduce((sum, { localRefusals }) => sum + localRefusals, 0);
    expect(refusals(many)).toBeGreaterThan(5 * refusals(few));
  });

  it('with `retries` has agents that give up, and ask for something else then', async () => {
    const givenUp = async (retries: number | null) => {
      const { totals, windows } = await run(short({ demand: { load: 1.5, retries } }));
      const sum = windows.reduce((total, window) => total + window.givenUp, 0);
      expect(sum, 'the total').toBe(totals.givenUp);
      expect(Math.max(...windows.map(({ longestWaitMs }) => longestWaitMs))).toBeLessThan(
        retries === null ? 5 * HOUR : (retries + 1) * 60_000,
      );
      expect(totals.answered).toBeGreaterThan(500);
      return totals.givenUp;
    };
    expect(await givenUp(null)).toBe(0);
    const [twice, tenTimes] = [await givenUp(2), await givenUp(10)];
    expect(tenTimes).toBeGreaterThan(10);
    expect(twice).toBeGreaterThan(1.5 * tenTimes);
  });

  it('with `load`, and its `changes`, asks for more or less', async () => {
    const demand = { load: 0.3, changes: [{ at: '10h', load: 3 }] };
    const result = await run(short({ demand }));
    expect(result.windows[0]?.utilisation).toBeLessThan(0.5);
    expect(result.windows.at(-1)?.utilisation).toBeGreaterThan(0.9);
    expect(Math.max(...waits(result))).toBeGreaterThan(HOUR);
  });

  it('with `tokens` and `seconds` has requests of these costs and lengths', async () => {
    const tokens = { median: 20_000, p90: 40_000, p99: 80_000 };
    const seconds = { median: 600, p95: 1_200 };
    const large = await run(short({ demand: { load: 1.5, tokens, seconds } }));
    const small = await PLAIN;
    expect(large.windows).not.toEqual(small.windows);
    expect(large.totals.overAdmittedTokens).toBeGreaterThan(small.totals.overAdmittedTokens);
  });

  it('with `trace` plays recorded sessions, each request after the one before it', async () => {
    const recorded = (session: string, t: number, input: number) =>
      JSON.stringify({ session, t, model: 'm', input, cacheRead: 0, output: 10, seconds: 2 });
    const text = JSON.stringify({
      windows: 2,
      upstream: { limit: 100_000 },
      demand: { trace: 't.jsonl', load: 0.5 },
    });
    const read = readWorld(text, 'w', () =>
      [recorded('a', 0, 100), recorded('a', 60, 200), recorded('a', 120, 300)].join('\n'),
    );
    if (!read.ok) throw new Error('no world');
    const { windows } = await simulate(read.world, { strategy: 'tidegate' });
    // Sessions of 630 tokens each, so that half of the limit is asked for.
    expect(windows[0]?.admittedTokens).toBeGreaterThan(40_000);
    expect(windows[0]?.admittedTokens).toBeLessThan(60_000);
  });

  it('with `governor` has what Tidegate is set to', async () => {
    const budget = 400_000;
    const { totals, windows } = await run(short({ governor: { budget } }));
    expect(windows[0]?.admittedTokens).toBeLessThan(1.2 * budget);
    expect(totals.upstream429).toBe(0);
    const still = await run(short({ governor: { budget, minTraffic: '100h' } }));
    expect(new Set(still.totals.budget)).toEqual(new Set([budget]));
  });
});

import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { FakeUpstream, jsonMessage } from '../support/fake-upstream.js';
import { STORES } from '../support/stores.js';
import { TidegateProcess } from '../support/tidegate-process.js';
import { until } from '../support/until.js';

/**
 * Goal: with the heavy-tailed costs of real traffic, a crash under-counts at most
 * Σ(actual − estimate) of the requests in flight at that moment.
 * Method: agents call without pause, SIGKILL at a random moment, restart, compare. What is orphaned
 * after the restart is exactly the sum of the estimates in flight, so the bound can be checked to the
 * token: used − orphaned >= the cost of every call that had settled.
 */
const KILLS = { file: 6, others: 2 };
const AGENTS = 8;
/** A settlement may be this late where others keep the processors busy: 250 ms by design, plus a write. */
const SETTLED_MS = 1_000;

/** Uncached input of recorded sessions: median 667, P90 4,171, P99 54,199 tokens, log-linear between. */
function heavyTailed(uniform: number): number {
  const quantiles = [
    [0, 20],
    [0.5, 667],
    [0.9, 4_171],
    [0.99, 54_199],
    [1, 200_000],
  ] as const;
  const above = quantiles.findIndex(([share]) => uniform <= share);
  const [high, upper] = quantiles[Math.max(1, above)]!;
  const [low, lower] = quantiles[Math.max(1, above) - 1]!;
  const part = (uniform - low) / (high - low);
  return Math.round(lower * (upper / lower) ** part);
}

/** Mulberry32: the same moments and costs in every run. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

it.each(STORES)(
  'under random kills the charge keeps its bound: $kind',
  { timeout: 120_000 },
  async ({ kind, make }) => {
    const random = seeded(20_261_123);
    const state = await make();
    /** Cost and end of every call that its client saw complete. */
    let complete: { cost: number; at: number }[] = [];
    /** Cost of those whose settlement was durable before a kill. */
    let settled = 0;
    const upstream = await FakeUpstream.open(async (request, response) => {
      const cost = heavyTailed(random());
      response.setHeader('x-cost', String(cost));
      await sleep(10 + 60 * random());
      return jsonMessage({ input: Math.ceil(cost / 2), output: Math.floor(cost / 2) })(
        request,
        response,
      );
    });
    const start = () =>
      TidegateProcess.start({
        TIDEGATE_UPSTREAM: upstream.url,
        TIDEGATE_STATE: state.address,
        TIDEGATE_BUDGET: '1000000000',
      });
    let gate = await start();
    const evening = { over: false };
    const agent = async () => {
      while (!evening.over) {
        try {
          const response = await gate.call();
          await response.text();
          const cost = Number(response.headers.get('x-cost'));
          complete.push({ cost, at: performance.now() });
          await sleep(10);
        } catch {
          await sleep(20);
        }
      }
    };
    const agents = Array.from({ length: AGENTS }, agent);
    try {
      for (let kill = 0; kill < (kind === 'file' ? KILLS.file : KILLS.others); kill += 1) {
        await until(() => complete.length > 20);
        await sleep(SETTLED_MS + 400 * random());
        const killedAt = performance.now();
        for (const { at, cost } of complete) if (at < killedAt - SETTLED_MS) settled += cost;
        await gate.kill();
        // What was complete, and maybe not settled, is among what is orphaned for good.
        complete = [];
        gate = await start();
        // Agents are calling again: what was settled before can only be joined by more.
        const limit = (await gate.scope()).limits[0]!;
        const { used, reserved, orphaned } = limit;
        expect(used - reserved - orphaned).toBeGreaterThanOrEqual(settled);
        expect(orphaned, 'there was something in flight').toBeGreaterThan(0);
      }
    } finally {
      evening.over = true;
      await Promise.all(agents);
    }
    await gate.kill();
    await upstream.close();
    await state.dispose();
  },
);

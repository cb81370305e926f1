import type { LoadResult } from './http-load.js';
import { EVENTS_A_STREAM } from './canned-upstream-events.js';
import { format, median, ratios, spread, table } from './figures.js';
import {
  drive,
  hasNginx,
  startBareProxy,
  startNginx,
  startTidegate,
  startUpstream,
  type Target,
} from './processes.js';
import type { Load } from './http-load.js';
import type { Suite, SuiteResult } from './suite.js';

type Driven = LoadResult & { readonly cpuShare: number; readonly rssBytes: number };
type Runs = ReadonlyMap<string, readonly Driven[]>;

/** V8 compiles for some eight seconds of full load, on the very core that is measured. */
const WARM_UP: Partial<Load> = { connections: 64, durationMs: 12_000 };

/** Every target once in each repetition, so that what the machine does meanwhile meets all of them. */
async function interleave(
  kind: 'json' | 'sse' | 'slow',
  repetitions: number,
  load: Partial<Load>,
  options: {
    readonly direct: boolean;
    /** Targets carry as much as they can for a while before anything is measured. */
    readonly warm: boolean;
    readonly stores: readonly ('file' | 'sqlite' | 'postgres')[];
  },
): Promise<Runs> {
  const upstream = await startUpstream(kind);
  const targets: Target[] = [];
  const runs = new Map<string, Driven[]>();
  try {
    if (options.direct) targets.push({ ...upstream, pid: null, stop: async () => {} });
    targets.push(await startBareProxy(upstream));
    if (hasNginx) targets.push(await startNginx(upstream));
    for (const store of options.stores) targets.push(await startTidegate(upstream, store));
    // What a process compiles in its first days is no part of what a request costs.
    const warmed = options.warm ? targets.filter(({ pid }) => pid !== null) : [];
    for (const target of warmed) await drive(target, WARM_UP);
    for (let repetition = 0; repetition < repetitions; repetition += 1) {
      for (const target of targets) {
        const driven = await drive(target, load);
        if (driven.failures > 0) throw new Error(`${target.name}: ${driven.failures} failures`);
        runs.set(target.name, [...(runs.get(target.name) ?? []), driven]);
      }
    }
  } finally {
    for (const target of targets) await target.stop();
    await upstream.stop();
  }
  return runs;
}

const perSecond = ({ requests, durationMs }: Driven) => (requests * 1000) / durationMs;

/** Small calls, as many as the proxy can carry. */
export const json: Suite = {
  name: 'json',
  title: 'Small JSON calls: 2 KB in, 1.2 KB out, 64 connections, as many as it can carry',
  async run({ repetitions, scale }): Promise<SuiteResult> {
    const load = { connections: 64, durationMs: 4_000 * scale };
    const runs = await interleave('json', repetitions, load, {
      direct: true,
      warm: true,
      stores: ['file'],
    });
    const bare = (runs.get('bare') ?? []).map(perSecond);
    const rows = [...runs].map(([name, driven]) => [
      name,
      spread(driven.map(perSecond)),
      spread(ratios(driven.map(perSecond), bare), 2),
      spread(
        driven.map(({ p50 }) => p50),
        2,
      ),
      spread(
        driven.map(({ p99 }) => p99),
        2,
      ),
      format(median(driven.map((run) => (run.cpuShare * 1e6) / perSecond(run))), 0),
    ]);
    const head = ['', 'requests/s', 'of bare', 'p50 ms', 'p99 ms', 'CPU µs a request'];
    const tidegate = (runs.get('tidegate file') ?? []).map(perSecond);
    const ratio = median(ratios(tidegate, bare));
    return {
      table: table(head, rows),
      goals: [
        {
          what: 'requests/s of the bare proxy',
          goal: '≥ 0.70',
          got: format(ratio, 2),
          met: ratio >= 0.7,
        },
      ],
      raw: Object.fromEntries(runs),
    };
  },
};

/** What a request waits for, when nothing is saturated. */
export const rate: Suite = {
  name: 'rate',
  title: 'Latency at a fixed 200 requests/s: 2 KB in, 1.2 KB out',
  async run({ repetitions, scale }): Promise<SuiteResult> {
    const load = { connections: 32, rate: 200, durationMs: 8_000 * scale };
    const runs = await interleave('json', repetitions, load, {
      direct: true,
      warm: true,
      stores: ['file', 'sqlite', 'postgres'],
    });
    const rows = [...runs].map(([name, driven]) => [
      name,
      spread(
        driven.map(({ p50 }) => p50),
        3,
      ),
      spread(
        driven.map(({ p90 }) => p90),
        3,
      ),
      spread(
        driven.map(({ p99 }) => p99),
        3,
      ),
    ]);
    const [bare = [], tidegate = []] = [runs.get('bare'), runs.get('tidegate file')];
    const addedBy = (name: string) =>
      median((runs.get(name) ?? []).map(({ p50 }, index) => p50 - (bare[index] as Driven).p50));
    const most = { 'tidegate file': 0.4, 'tidegate sqlite': 0.6, 'tidegate postgres': 1 };
    const tail = median(
      ratios(
        tidegate.map(({ p99 }) => p99),
        bare.map(({ p99 }) => p99),
      ),
    );
    return {
      table: table(['', 'p50 ms', 'p90 ms', 'p99 ms'], rows),
      goals: [
        ...Object.entries(most).map(([name, goal]) => ({
          what: `${name}: p50 above the bare proxy, ms`,
          goal: `≤ ${goal}`,
          got: format(addedBy(name), 3),
          met: addedBy(name) <= goal,
        })),
        {
          what: 'tidegate file: p99 of the bare proxy',
          goal: '≤ 1.5',
          got: format(tail, 2),
          met: tail <= 1.5,
        },
      ],
      raw: Object.fromEntries(runs),
    };
  },
};

/** Streams of many small events, as fast as they come. */
export const sse: Suite = {
  name: 'sse',
  title: `Server-sent events: streams of ${EVENTS_A_STREAM} events, 16 at a time`,
  async run({ repetitions, scale }): Promise<SuiteResult> {
    const load = { connections: 16, durationMs: 4_000 * scale };
    const runs = await interleave('sse', repetitions, load, {
      direct: false,
      warm: true,
      stores: ['file'],
    });
    const events = (run: Driven) => perSecond(run) * EVENTS_A_STREAM;
    const cost = (run: Driven) => (run.cpuShare * 1e6) / events(run);
    const bare = (runs.get('bare') ?? []).map(cost);
    const rows = [...runs].map(([name, driven]) => [
      name,
      spread(driven.map(events)),
      spread(driven.map(cost), 2),
      spread(ratios(driven.map(cost), bare), 2),
    ]);
    const ratio = median(ratios((runs.get('tidegate file') ?? []).map(cost), bare));
    return {
      table: table(['', 'events/s', 'CPU µs an event', 'of bare'], rows),
      goals: [
        {
          what: 'CPU an event, of the bare proxy',
          goal: '≤ 1.15',
          got: format(ratio, 2),
          met: ratio <= 1.15,
        },
      ],
      raw: Object.fromEntries(runs),
    };
  },
};

/** Many agents that wait for a model that thinks. */
export const slow: Suite = {
  name: 'slow',
  title: '3,000 slow streams: an event a second each',
  async run({ repetitions, scale }): Promise<SuiteResult> {
    const load = { connections: 3_000, durationMs: 10_000 * scale, warmUpMs: 5_000 };
    const runs = await interleave('slow', Math.min(repetitions, 3), load, {
      direct: false,
      warm: false,
      stores: ['file'],
    });
    const share = ({ cpuShare }: Driven) => cpuShare * 100;
    const megabytes = ({ rssBytes }: Driven) => rssBytes / 1e6;
    const rows = [...runs].map(([name, driven]) => [
      name,
      spread(driven.map(share), 1),
      spread(driven.map(megabytes)),
      spread(
        driven.map(({ bytes, durationMs }) => bytes / durationMs),
        0,
      ),
    ]);
    const tidegate = runs.get('tidegate file') ?? [];
    const [cpu, memory] = [median(tidegate.map(share)), median(tidegate.map(megabytes))];
    return {
      table: table(['', '% of a core', 'resident MB', 'KB/s'], rows),
      goals: [
        { what: '% of a core', goal: '≤ 45', got: format(cpu, 1), met: cpu <= 45 },
        { what: 'resident MB', goal: '≤ 200', got: format(memory), met: memory <= 200 },
      ],
      raw: Object.fromEntries(runs),
    };
  },
};

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FakeUpstream } from '../support/fake-upstream.js';
import { playUpstream, ReplayClient, replaySessions, tokensOf } from '../support/replay.js';
import { TidegateProcess } from '../support/tidegate-process.js';
import { until } from '../support/until.js';
import { makeTraffic, readTrace, type TracedRequest } from '../support/traffic.js';
import { format, median, table } from './figures.js';
import type { Suite, SuiteResult } from './suite.js';

/** All sessions side by side within about this time. */
const TOGETHER_MS = 60_000;

/** The estimate of a request, made before the call, and what it cost in the end. */
interface Estimate {
  readonly estimated: number;
  readonly actual: number;
}

/** A trace through a real process: first as it was, side by side; then one request at a time. */
export const replay: Suite = {
  name: 'replay',
  title: 'Sessions of a coding agent, replayed (`--trace FILE`, else made up in the same shapes)',
  async run({ trace: path }): Promise<SuiteResult> {
    const trace = path === undefined ? makeTraffic(40, 40, 1) : readTrace(path);
    const longest = Math.max(...trace.map(({ t, seconds }) => t + seconds));
    const timeScale = (longest * 1000) / TOGETHER_MS;
    const sideBySide = await replayTogether(trace, timeScale);
    const estimates = await estimateEach(trace);
    const errors = estimates.map(({ estimated, actual }) => Math.abs(estimated - actual) / actual);
    const sum = (pick: (estimate: Estimate) => number) =>
      estimates.reduce((total, estimate) => total + pick(estimate), 0);
    const total = sum(({ estimated }) => estimated) / sum(({ actual }) => actual) - 1;
    errors.sort((a, b) => a - b);
    const at = (share: number) => format(100 * (errors[Math.floor(errors.length * share)] ?? 0), 1);
    const { faults, metered } = sideBySide;
    const off = metered - tokensOf(trace);
    return {
      table: table(
        ['requests', 'tokens', 'error of an estimate: median %', 'P90 %', 'P99 %', 'of the sum %'],
        [
          [
            format(trace.length),
            format(tokensOf(trace)),
            at(0.5),
            at(0.9),
            at(0.99),
            format(100 * total, 1),
          ],
        ],
      ),
      goals: [
        {
          what: 'answers not as sent',
          goal: '0',
          got: String(faults.length),
          met: faults.length === 0,
        },
        { what: 'tokens metered beside the trace’s', goal: '0', got: format(off), met: off === 0 },
        {
          what: 'median error of an estimate',
          goal: '< 40 %',
          got: `${at(0.5)} %`,
          met: median(errors) < 0.4,
        },
        {
          what: 'error of the sum',
          goal: '± 5 %',
          got: `${format(100 * total, 1)} %`,
          met: Math.abs(total) <= 0.05,
        },
      ],
      raw: { faults: faults.slice(0, 20), estimates },
    };
  },
};

async function withTidegate<Value>(
  use: (tidegate: TidegateProcess, upstream: FakeUpstream) => Promise<Value>,
): Promise<Value> {
  const directory = mkdtempSync(join(tmpdir(), 'tidegate-bench-replay-'));
  const upstream = await FakeUpstream.open();
  const tidegate = await TidegateProcess.start({
    TIDEGATE_UPSTREAM: upstream.url,
    TIDEGATE_STATE: `file:${join(directory, 'state.json')}`,
    TIDEGATE_BUDGET: '1000000000000',
  });
  try {
    return await use(tidegate, upstream);
  } finally {
    await tidegate.kill();
    await upstream.close();
    rmSync(directory, { recursive: true });
  }
}

function replayTogether(trace: readonly TracedRequest[], timeScale: number) {
  return withTidegate(async (tidegate, upstream) => {
    const play = playUpstream(trace, timeScale);
    upstream.answer = (request, response) => {
      // What was seen is not kept: some of these bodies have megabytes.
      upstream.seen.length = 0;
      return play(request, response);
    };
    const faults = await replaySessions(tidegate.proxyUrl, trace, timeScale);
    const limit = async () => (await tidegate.scope()).limits[0];
    await until(async () => (await limit())?.reserved === 0);
    return { faults, metered: (await limit())?.used ?? Number.NaN };
  });
}

/** One at a time, so that what is reserved meanwhile is the one request's estimate. */
function estimateEach(trace: readonly TracedRequest[]): Promise<Estimate[]> {
  return withTidegate(async (tidegate, upstream) => {
    const play = playUpstream(trace, Number.POSITIVE_INFINITY);
    let reserved = Number.NaN;
    upstream.answer = async (request, response) => {
      upstream.seen.length = 0;
      reserved = (await tidegate.scope()).limits[0]?.reserved ?? Number.NaN;
      await play(request, response);
    };
    const client = new ReplayClient(tidegate.proxyUrl);
    const estimates: Estimate[] = [];
    for (const [index, traced] of trace.entries()) {
      await client.ask(traced, index);
      // The settlement goes out with the next admission, so nothing else is reserved by then.
      estimates.push({ estimated: reserved, actual: traced.input + traced.output });
    }
    client.close();
    return estimates;
  });
}

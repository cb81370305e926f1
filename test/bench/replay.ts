import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FakeUpstream } from '../support/fake-upstream.js';
import { playUpstream, replaySessions, tokensOf } from '../support/replay.js';
import { errorsOf, estimateInTraceTime } from '../governor/traced-estimates.js';
import { TidegateProcess } from '../support/tidegate-process.js';
import { until } from '../support/until.js';
import { makeTraffic, readTrace, type TracedRequest } from '../support/traffic.js';
import { format, table } from './figures.js';
import type { Suite, SuiteResult } from './suite.js';

/** All sessions side by side within about this time. */
const TOGETHER_MS = 60_000;

/** Between the starts of sessions, where estimates are made side by side. */
const APART_MS = 60_000;

/** A trace through a real process, all sessions at once; its estimates through the governor, in the trace's own time. */
export const replay: Suite = {
  name: 'replay',
  title: 'Sessions of a coding agent, replayed (`--trace FILE`, else made up in the same shapes)',
  async run({ trace: path }): Promise<SuiteResult> {
    const trace = path === undefined ? makeTraffic(40, 40, 1) : readTrace(path);
    const longest = Math.max(...trace.map(({ t, seconds }) => t + seconds));
    const timeScale = (longest * 1000) / TOGETHER_MS;
    const sideBySide = await replayTogether(trace, timeScale);
    const { faults, metered } = sideBySide;
    const off = metered - tokensOf(trace);
    const estimates = {
      'one after another': await estimateInTraceTime(trace, null),
      'side by side': await estimateInTraceTime(trace, APART_MS),
    };
    const errors = Object.entries(estimates).map(([order, made]) => ({ order, ...errorsOf(made) }));
    const percent = (share: number) => format(100 * share, 1);
    return {
      table: table(
        [
          'requests',
          'tokens',
          'sessions',
          ...['median', 'P90', 'sum'].map((of) => `error of an estimate: ${of} %`),
        ],
        errors.map(({ order, median, p90, sum }) => [
          format(trace.length),
          format(tokensOf(trace)),
          order,
          ...[median, p90, sum].map(percent),
        ]),
      ),
      goals: [
        {
          what: 'answers not as sent',
          goal: '0',
          got: String(faults.length),
          met: faults.length === 0,
        },
        { what: 'tokens metered beside the trace’s', goal: '0', got: format(off), met: off === 0 },
        ...errors.flatMap(({ order, median, sum }) => [
          {
            what: `median error of an estimate, ${order}`,
            goal: '< 40 %',
            got: `${percent(median)} %`,
            met: median < 0.4,
          },
          {
            what: `error of the sum, ${order}`,
            goal: '± 5 %',
            got: `${percent(sum)} %`,
            met: Math.abs(sum) <= 0.05,
          },
        ]),
      ],
      raw: { faults: faults.slice(0, 20), estimates },
    };
  },
};

async function replayTogether(trace: readonly TracedRequest[], timeScale: number) {
  const directory = mkdtempSync(join(tmpdir(), 'tidegate-bench-replay-'));
  const upstream = await FakeUpstream.open();
  const play = playUpstream(trace, timeScale);
  upstream.answer = (request, response) => {
    // What was seen is not kept: some of these bodies have megabytes.
    upstream.seen.length = 0;
    return play(request, response);
  };
  const tidegate = await TidegateProcess.start({
    TIDEGATE_UPSTREAM: upstream.url,
    TIDEGATE_STATE: `file:${join(directory, 'state.json')}`,
    TIDEGATE_BUDGET: '1000000000000',
  });
  try {
    const faults = await replaySessions(tidegate.proxyUrl, trace, timeScale);
    const limit = async () => (await tidegate.scope()).limits[0];
    await until(async () => (await limit())?.reserved === 0);
    return { faults, metered: (await limit())?.used ?? Number.NaN };
  } finally {
    await tidegate.kill();
    await upstream.close();
    rmSync(directory, { recursive: true });
  }
}

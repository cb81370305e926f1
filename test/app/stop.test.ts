import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AHEAD_MS } from '../../src/cli/serve.js';
import { loadConfig } from '../../src/config/load.js';
import { AFTER_DRAIN_MS, CLOSE_MS, DataPlane, SETTLE_MS } from '../../src/data-plane.js';
import { SteadyClock } from '../../src/platform/clock.js';
import { openLog } from '../../src/platform/log.js';
import { CUT_MS } from '../../src/proxy/upstream-proxy.js';
import { LAST_RUN_MS } from '../../src/schedule/governor-job.js';
import { NO_FILES } from '../config/load.js';
import { TemporaryDirectory } from '../support/temporary-directory.js';

/** For what a busy machine adds to them. */
const MARGIN_MS = 500;
const FILE = `
upstreams:
  - { name: one, url: "http://127.0.0.1:9", listen: "127.0.0.1:0" }
  - { name: two, url: "http://127.0.0.1:9", listen: "127.0.0.1:0" }
`;

let directory: TemporaryDirectory;
let plane: DataPlane;
let lines: string[];

async function open(): Promise<void> {
  directory = new TemporaryDirectory();
  const env = { TIDEGATE_CONFIG: 'x', TIDEGATE_STATE: `file:${directory.at('state')}` };
  const machine = { ...NO_FILES, readFile: () => FILE };
  const result = loadConfig(env, directory.path, machine);
  if (!result.ok) throw new Error(JSON.stringify(result.problems));
  lines = [];
  const log = openLog({ format: 'json', write: (line) => lines.push(line), now: () => 0 });
  plane = await DataPlane.open(result.config, { clock: new SteadyClock(), log, report: () => {} });
}

const told = () => lines.map((line) => JSON.parse(line));

afterEach(() => directory.dispose());

describe('a stop', () => {
  beforeEach(open);

  it('of which all is done says so', async () => {
    await plane.listen();
    expect(await plane.stop()).toBe(true);
    expect(told()).toEqual([]);
  });

  it('goes on to its end where a part of it fails, and says so', async () => {
    await plane.listen();
    const { repository } = plane;
    const { close } = repository;
    const update = repository.update.bind(repository);
    let recorded = false;
    let closedAfter: boolean | null = null;
    repository.update = async (scope, decide) => {
      if (scope === 'one') throw new RangeError('the state can’t be saved');
      await nextTurn();
      const outcome = await update(scope, decide);
      recorded = true;
      return outcome;
    };
    repository.close = () => {
      closedAfter = recorded;
      return close.call(repository);
    };
    expect(await plane.stop()).toBe(false);
    expect(plane.phase).toBe('stopped');
    expect(closedAfter, 'the other scope’s stop is on record when the state closes').toBe(true);
    expect(told()).toMatchObject([
      { level: 'error', part: 'record of the stop', problem: 'the state can’t be saved' },
    ]);
  });

  it('has the time for all of its parts before it ends itself', () => {
    const parts = [LAST_RUN_MS, CUT_MS, SETTLE_MS, ...Object.values(CLOSE_MS)];
    const together = parts.reduce((sum, ms) => sum + ms, 0);
    expect(together + MARGIN_MS).toBeLessThanOrEqual(AFTER_DRAIN_MS - AHEAD_MS);
  });
});

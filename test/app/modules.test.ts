import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { BackoffPolicy } from '../../src/backoff/backoff-policy.js';
import { BudgetController } from '../../src/budget/budget-controller.js';
import { CalibrationStore } from '../../src/calibration/calibration-store.js';
import { loadConfig } from '../../src/config/load.js';
import { openControlPlane } from '../../src/control-plane.js';
import { DataPlane } from '../../src/data-plane.js';
import { Governor } from '../../src/governor/governor.js';
import { MetricsReport } from '../../src/metrics/metrics-report.js';
import { SteadyClock } from '../../src/platform/clock.js';
import { SILENT_LOG } from '../../src/platform/log.js';
import { UpstreamProxy } from '../../src/proxy/upstream-proxy.js';
import { GovernorJob } from '../../src/schedule/governor-job.js';
import { STATE_REPOSITORY, type StateRepository } from '../../src/state/state-repository.js';
import { NO_FILES } from '../config/load.js';
import { TemporaryDirectory } from '../support/temporary-directory.js';

let directory: TemporaryDirectory;
let plane: DataPlane;
let app: NestFastifyApplication;

beforeEach(async () => {
  directory = new TemporaryDirectory();
  const result = loadConfig(
    {
      TIDEGATE_LISTEN: '127.0.0.1:0',
      TIDEGATE_ADMIN_LISTEN: '127.0.0.1:0',
      TIDEGATE_UPSTREAM: 'http://127.0.0.1:9',
      TIDEGATE_TICK: '1h',
    },
    directory.path,
    NO_FILES,
  );
  if (!result.ok) throw new Error(JSON.stringify(result.problems));
  const options = { clock: new SteadyClock(), log: SILENT_LOG, report: () => {} };
  plane = await DataPlane.open(result.config, options);
  await plane.listen();
  app = await openControlPlane(plane, SILENT_LOG);
});

afterEach(async () => {
  await app.close();
  directory.dispose();
});

describe('the Nest application', () => {
  it('injects the parts of the running data plane, not copies of them', () => {
    expect(app.get(BudgetController)).toBe(plane.policies.budget);
    expect(app.get(BackoffPolicy)).toBe(plane.policies.backoff);
    expect(app.get(CalibrationStore)).toBe(plane.policies.calibration);
    expect(app.get(Governor)).toBe(plane.governor);
    expect(app.get(UpstreamProxy)).toBe(plane.proxy);
    expect(app.get(STATE_REPOSITORY)).toBe(plane.repository);
  });

  it('outlives a connection that can’t be accepted', () => {
    // Nobody listening, it would throw.
    app.getHttpServer().emit('error', new Error('accept EMFILE'));
  });

  it('runs its job one at a time', async () => {
    const job = app.get(GovernorJob);
    const runs = [job.run(), job.run()];
    expect(runs[0]).toBe(runs[1]);
    await Promise.all(runs);
    const next = job.run();
    expect(next).not.toBe(runs[0]);
    await next;
  });

  it('answers a scrape while the state can’t be read, with all that does not stand in it', async () => {
    const scrape = () => app.get(MetricsReport).scrape();
    expect(await scrape()).toContain('tidegate_scope_state{scope="anthropic"');
    plane.governor.view = () => Promise.reject(new Error('away'));
    const text = await scrape();
    expect(text).toContain('tidegate_build_info{');
    expect(text).not.toContain('tidegate_scope_state{');
  });

  it('closes the data plane with it, the state last', async () => {
    const repository = app.get<StateRepository>(STATE_REPOSITORY);
    await app.close();
    expect(plane.phase).toBe('stopped');
    await expect(repository.read('anthropic')).rejects.toMatchObject({ code: 'STATE_CLOSED' });
  });
});

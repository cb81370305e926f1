import { expect, it } from 'vitest';
import type { DataPlane } from '../../src/data-plane.js';
import { SteadyClock } from '../../src/platform/clock.js';
import { openLog } from '../../src/platform/log.js';
import { JobRecord } from '../../src/schedule/job-record.js';
import { ManualTime } from '../support/manual-time.js';

it('tells the log once that the job fails, whatever it says each time, and once that it succeeds again', () => {
  const time = new ManualTime();
  const lines: string[] = [];
  const log = openLog({
    format: 'text',
    write: (line) => lines.push(line.trimEnd().replace(/^\S+ /, '')),
    now: () => time.wall(),
  });
  const record = new JobRecord({ log, clock: new SteadyClock(time) } as DataPlane);
  record.succeeded();
  for (const ms of [5_001, 65_001]) record.failed(new Error(`no answer for ${ms} ms`));
  expect(record.failure).toBe('no answer for 65001 ms');
  record.succeeded();
  record.succeeded();
  expect(record.failure).toBeNull();
  expect(lines).toEqual([
    'WARN  the scheduled job failed failure="no answer for 5001 ms"',
    'INFO  the scheduled job succeeds again',
  ]);
});

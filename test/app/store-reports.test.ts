import { beforeEach, expect, it } from 'vitest';
import { openLog } from '../../src/platform/log.js';
import type { StoreHealth } from '../../src/state/state-repository.js';
import { StoreReports } from '../../src/store-reports.js';
import { ManualTime } from '../support/manual-time.js';

const GOOD = { healthy: true, problem: null };

let health: Pick<StoreHealth, 'healthy' | 'problem'>;
let time: ManualTime;
let lines: string[];
let reports: StoreReports;

beforeEach(() => {
  health = GOOD;
  time = new ManualTime();
  lines = [];
  const log = openLog({
    format: 'text',
    write: (line) => lines.push(line.trimEnd().replace(/^\S+ /, '')),
    now: () => time.wall(),
  });
  const repository = { health: () => ({ ...health, id: 'x', revision: 1 }) };
  reports = new StoreReports(repository, log, time);
});

it('says nothing of a store that is as it should be', () => {
  reports.begin();
  time.advance(60_000);
  expect(lines).toEqual([]);
});

it('says once that it is down, with what it says of itself, and once that it is back', () => {
  reports.begin();
  for (const ms of [5_001, 6_001]) {
    health = { healthy: false, problem: `no answer for ${ms} ms: look at the database` };
    time.advance(1_000);
  }
  time.advance(60_000);
  health = GOOD;
  time.advance(60_000);
  expect(lines).toEqual([
    'ERROR the store cannot be used: nothing is forwarded problem="no answer for 5001 ms: look at the database"',
    'INFO  the store is as it should be again',
  ]);
});

it('says at once what is wrong at the start', () => {
  health = { healthy: false, problem: 'its disk is full: free space' };
  reports.begin();
  expect(lines).toHaveLength(1);
});

it('tells a store that is down from one that is behind', () => {
  health = { healthy: true, problem: 'the journals have what state.json lacks: free space' };
  reports.begin();
  health = { healthy: false, problem: 'free space' };
  time.advance(1_000);
  expect(lines).toEqual([
    expect.stringContaining('can be used, and is not as it should be problem="the journals'),
    expect.stringContaining('cannot be used: nothing is forwarded problem="free space"'),
  ]);
});

it('does not look any more once it is closed', () => {
  reports.begin();
  time.advance(3_000);
  reports.close();
  expect(time.pending).toBe(0);
});

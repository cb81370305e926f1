import { defineConfig } from 'vitest/config';
import { LongestFirst } from './test/support/longest-first.js';

/** Examples and properties in memory, of which one can't leave anything behind for another. */
const RULES = 'test/{backoff,budget,calibration,config,dialects,governor,history}/**/*.test.ts';

export default defineConfig({
  test: {
    globalSetup: ['./test/support/postgres-starter.ts'],
    setupFiles: ['./test/support/seed.ts'],
    // Two cores; process tests start servers of their own, and wait for disks and timers most of the time.
    maxWorkers: 3,
    // Far above what they take: a busy machine is no fault of theirs.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Named by the reporter where it was needed.
    retry: process.env['CI'] === undefined ? 0 : 1,
    reporters: ['default', './test/support/count-reporter.ts', './test/support/stuck-run.ts'],
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        extends: true,
        test: { name: 'machine', include: ['test/**/*.test.ts'], exclude: [RULES] },
      },
      // A process for each of these files would cost more than its tests.
      { extends: true, test: { name: 'rules', include: [RULES], isolate: false } },
    ],
  },
});

import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['./test/support/postgres-starter.ts'],
    setupFiles: ['./test/support/seed.ts'],
    // Two cores; process tests start servers of their own, and wait for disks and timers most of the time.
    maxWorkers: 3,
    testTimeout: 30_000,
    hookTimeout: 30_000,
    // Named by the reporter where it was needed.
    retry: process.env['CI'] === undefined ? 0 : 1,
    reporters: ['default', './test/support/count-reporter.ts'],
  },
});

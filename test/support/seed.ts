import fc from 'fast-check';

/**
 * Properties are tried on the same cases in every run, so that a change that breaks one is the change
 * under test. `TIDEGATE_TEST_SEED=random` tries new ones, a number repeats those of a report.
 */
const asked = process.env['TIDEGATE_TEST_SEED'] ?? '20261123';

if (asked !== 'random') fc.configureGlobal({ seed: Number(asked) });

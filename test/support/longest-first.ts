import { BaseSequencer, type TestSpecification } from 'vitest/node';

/**
 * Files that take a quarter of a minute and more alone, the longest first: begun last, one of them
 * would run on alone while the other core is idle. Vitest itself knows only the length of the texts, on
 * a clean checkout.
 */
const LONGEST = [
  // Not one of them, but its clean stops leave compiled code behind, for those that are killed.
  'test/e2e/drain.test.ts',
  'test/kill/matrix.test.ts',
  'test/replicas/fleet.test.ts',
  'test/kill/incident.test.ts',
  'test/replicas/chaos.test.ts',
  'test/fault/postgres-network.test.ts',
  'test/systemd/service.test.ts',
  'test/kill/random.test.ts',
  'test/simulate/goals.test.ts',
  'test/e2e/state-faults.test.ts',
  'test/fault/store-process.test.ts',
  'test/e2e/control-plane.test.ts',
];

export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const found = LONGEST.findIndex((path) => moduleId.endsWith(path));
      return found === -1 ? LONGEST.length : found;
    };
    return (await super.sort(files)).toSorted((a, b) => rank(a) - rank(b));
  }
}

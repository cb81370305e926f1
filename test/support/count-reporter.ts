import type { Reporter, TestModule } from 'vitest/node';

interface Count {
  readonly passed: number;
  readonly failed: number;
  /** Names of tests that passed at their second try. */
  readonly again: readonly string[];
}

/**
 * Ends the run with the one line `.ci/run` promises: `N passed, N failed`. Also a run that is broken off: what had not
 * ended has failed.
 */
export default class CountReporter implements Reporter {
  readonly #ended = new Map<TestModule, Count>();
  #begun = 0;
  #unhandled = 0;

  onInit(): void {
    // After the default reporter's summary, which prints in the same tick.
    process.once('exit', (code) => this.#print(code));
  }

  onTestModuleQueued(): void {
    this.#begun += 1;
  }

  onTestModuleEnd(module: TestModule): void {
    this.#ended.set(module, countOf(module));
  }

  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    for (const module of modules) this.#ended.set(module, countOf(module));
    this.#begun = modules.length;
    this.#unhandled = unhandled.length;
  }

  #print(code: number): void {
    const counts = [...this.#ended.values()];
    for (const name of counts.flatMap(({ again }) => again)) {
      console.log(`passed at the second try: ${name}`);
    }
    const passed = sum(counts.map((count) => count.passed));
    const failed = sum(counts.map((count) => count.failed));
    const unended = this.#begun - counts.length;
    const all = failed + this.#unhandled + unended;
    // What fails beside the tests, such as an end that does not come, is a failure too.
    console.log(`${passed} passed, ${code === 0 ? all : Math.max(all, 1)} failed`);
  }
}

function countOf(module: TestModule): Count {
  const tests = [...module.children.allTests()];
  const passed = tests.filter((test) => test.result().state === 'passed');
  const failed = tests.filter((test) => test.result().state === 'failed').length;
  const again = passed.filter((test) => (test.diagnostic()?.retryCount ?? 0) > 0);
  return {
    passed: passed.length,
    // A file that could not even be loaded has failed, though it has no tests to count.
    failed: !module.ok() && tests.length === 0 ? 1 : failed,
    again: again.map((test) => `${module.relativeModuleId} > ${test.fullName}`),
  };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

import type { Reporter, TestModule } from 'vitest/node';

/** Ends the run with the one line `.ci/run` promises: `N passed, N failed`. */
export default class CountReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    let passed = 0;
    let failed = unhandled.length;
    const again: string[] = [];
    for (const module of modules) {
      let ran = 0;
      for (const test of module.children.allTests()) {
        ran += 1;
        const { state } = test.result();
        if (state === 'passed') passed += 1;
        if (state === 'passed' && (test.diagnostic()?.retryCount ?? 0) > 0) {
          again.push(`${module.relativeModuleId} > ${test.fullName}`);
        }
        if (state === 'failed') failed += 1;
      }
      // A file that could not even be loaded has failed, though it has no tests to count.
      if (!module.ok() && ran === 0) failed += 1;
    }
    // After the default reporter's summary, which prints in the same tick.
    process.once('exit', () => {
      for (const name of again) console.log(`passed at the second try: ${name}`);
      console.log(`${passed} passed, ${failed} failed`);
    });
  }
}

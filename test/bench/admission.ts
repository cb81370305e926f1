import { BackoffPolicy } from '../../src/backoff/backoff-policy.js';
import { BudgetController } from '../../src/budget/budget-controller.js';
import { CalibrationStore } from '../../src/calibration/calibration-store.js';
import { Governor } from '../../src/governor/governor.js';
import { SteadyClock } from '../../src/platform/clock.js';
import { SYSTEM_RANDOM } from '../../src/platform/random.js';
import { SYSTEM_TIMERS } from '../../src/platform/timers.js';
import { MemoryDisk, MemoryStateRepository } from '../../src/state/memory/memory-repository.js';
import { format, median, spread, table } from './figures.js';
import type { Suite, SuiteResult } from './suite.js';

const HOUR = 3_600_000;
const TOGETHER = 16;
const EARLY = 10;
const LATE = 1_000_000;
/** How many requests a measurement takes. */
const SAMPLE = 20_000;
/** More than the governor remembers of either. */
const SESSIONS = 10_000;
const MODELS = 40;

/** A governor on memory: what remains is its own work, without the disk's. */
class Load {
  readonly disk = new MemoryDisk();
  readonly #governor: Governor;
  #made = 0;

  constructor() {
    this.#governor = new Governor({
      repository: new MemoryStateRepository(new SteadyClock(), this.disk),
      policies: {
        budget: new BudgetController({
          nudge: 0.03,
          nudgeEveryMs: HOUR,
          minTrafficMs: HOUR,
          minUsed: 0.05,
        }),
        backoff: new BackoffPolicy({ ladderMs: [30_000], probeEveryMs: HOUR }),
        calibration: new CalibrationStore(),
      },
      scopes: [
        {
          name: 'bench',
          limits: [
            {
              name: 'tokens',
              unit: 'tokens',
              kind: 'fixed',
              windowMs: 5 * HOUR,
              models: null,
              budget: 1e15,
            },
          ],
        },
      ],
      instance: 'bench',
      observe: false,
      tickMs: 60_000,
      timers: SYSTEM_TIMERS,
      random: SYSTEM_RANDOM,
      report: () => {},
    });
  }

  start(): Promise<void> {
    return this.#governor.start();
  }

  /** Whole requests, one batch after the other. Returns the CPU time of one, in µs. */
  async requests(count: number): Promise<number> {
    const before = process.cpuUsage();
    for (let done = 0; done < count; done += TOGETHER) {
      await Promise.all(
        Array.from({ length: Math.min(TOGETHER, count - done) }, () => this.#one()),
      );
    }
    const { user, system } = process.cpuUsage(before);
    return (user + system) / count;
  }

  async #one(): Promise<void> {
    const number = (this.#made += 1);
    const outcome = await this.#governor.admit('bench', {
      requestId: `r${number}`,
      model: `model-${number % MODELS}`,
      session: `session-${number % SESSIONS}`,
      bodyBytes: 2_000 + (number % 1_000),
    });
    if (outcome.kind !== 'admitted') throw new Error(`not admitted: ${outcome.kind}`);
    this.#governor.succeeded(outcome.admission, []);
    this.#governor.settle(outcome.admission, {
      kind: 'success',
      whole: true,
      complete: true,
      inputTokens: 500 + (number % 200),
      cachedTokens: 100,
      outputTokens: 60,
      relayedOutputTokens: 60,
    });
  }

  get stateBytes(): number {
    return JSON.stringify([...this.disk.scopes.values()]).length;
  }
}

/** Is the thousandth admission as cheap as the millionth? */
export const admission: Suite = {
  name: 'admission',
  title: 'The governor’s own work for a request, after many others (store in memory)',
  async run({ repetitions, scale }): Promise<SuiteResult> {
    const warm = new Load();
    await warm.start();
    await warm.requests(SAMPLE);
    const early: number[] = [];
    const late: number[] = [];
    const bytes: [number, number] = [0, 0];
    for (let repetition = 0; repetition < Math.min(repetitions, 3); repetition += 1) {
      const load = new Load();
      await load.start();
      await load.requests(EARLY);
      bytes[0] = load.stateBytes;
      early.push(await load.requests(SAMPLE));
      await load.requests(LATE * Math.min(scale, 1));
      bytes[1] = load.stateBytes;
      late.push(await load.requests(SAMPLE));
    }
    const ratio = median(late) / median(early);
    const rows = [
      [format(EARLY), spread(early, 1), format(bytes[0])],
      [format(LATE * Math.min(scale, 1)), spread(late, 1), format(bytes[1])],
    ];
    return {
      table: table(['requests before', 'CPU µs a request', 'bytes of state'], rows),
      goals: [
        { what: 'late against early', goal: '≤ 1.2', got: format(ratio, 2), met: ratio <= 1.2 },
      ],
      raw: { early, late, bytes },
    };
  },
};

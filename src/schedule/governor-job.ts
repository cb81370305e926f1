import {
  type BeforeApplicationShutdown,
  Inject,
  Injectable,
  type OnApplicationBootstrap,
} from '@nestjs/common';
import { SchedulerRegistry } from '@nestjs/schedule';
import { CONFIG, type Config } from '../config/config.js';
import { DATA_PLANE, type DataPlane } from '../data-plane.js';
import { Governor } from '../governor/governor.js';
import { every, SYSTEM_TIMERS, withDeadline } from '../platform/timers.js';
import { JobRecord } from './job-record.js';

const JOB = 'governor';
/** How long a stop waits for a run under way, which takes some milliseconds. */
export const LAST_RUN_MS = 1_000;

/**
 * The scheduled job: ends windows nobody touched, weighs the anti-windup guards, finds instances that
 * fell silent. Idempotent, so every replica may run it; one run never overlaps the next.
 */
@Injectable()
export class GovernorJob implements OnApplicationBootstrap, BeforeApplicationShutdown {
  #running: Promise<void> | null = null;
  #stopped = false;

  constructor(
    @Inject(Governor) private readonly governor: Governor,
    @Inject(CONFIG) private readonly config: Config,
    @Inject(DATA_PLANE) private readonly plane: DataPlane,
    @Inject(SchedulerRegistry) private readonly registry: SchedulerRegistry,
    @Inject(JobRecord) private readonly record: JobRecord,
  ) {}

  onApplicationBootstrap(): void {
    this.registry.addInterval(
      JOB,
      every(this.config.tickMs, () => void this.run()),
    );
  }

  /** The registry ends the interval itself; a run under way has a moment to end, for the state closes next. */
  async beforeApplicationShutdown(): Promise<void> {
    this.#stopped = true;
    if (this.#running !== null)
      await withDeadline(SYSTEM_TIMERS, LAST_RUN_MS, this.#running, undefined);
  }

  /** One run; while one is under way, that one. */
  run(): Promise<void> {
    if (this.#stopped) return Promise.resolve();
    this.#running ??= this.#run().finally(() => (this.#running = null));
    return this.#running;
  }

  async #run(): Promise<void> {
    try {
      await this.governor.tick();
      this.record.succeeded();
    } catch (error) {
      this.record.failed(error);
    }
    // Health tells if it can't: nothing waits for the past.
    await this.plane.history.upkeep(this.plane.clock.now());
  }
}

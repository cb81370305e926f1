import type { Log } from './platform/log.js';
import type { Cancel, Timers } from './platform/timers.js';
import type { StateRepository } from './state/state-repository.js';

/** How often the store is looked at: as often as one that failed is tried again. */
const LOOK_MS = 1_000;

/** `behind`: writes are durable, and something about the store needs a person all the same. */
type Condition = 'good' | 'behind' | 'down';

/**
 * Tells the log when the store goes down, and when it is back: requests are refused for it, and nobody
 * should have to ask why. One line a change; what it says of itself meanwhile is in health.
 */
export class StoreReports {
  #told: Condition = 'good';
  #cancel: Cancel = () => {};

  constructor(
    private readonly repository: Pick<StateRepository, 'health'>,
    private readonly log: Log,
    private readonly timers: Timers,
  ) {}

  begin(): void {
    this.#look();
    this.#cancel = this.timers.after(LOOK_MS, () => this.begin());
  }

  close(): void {
    this.#cancel();
  }

  #look(): void {
    const { healthy, problem } = this.repository.health();
    const condition = healthy ? (problem === null ? 'good' : 'behind') : 'down';
    if (condition === this.#told) return;
    this.#told = condition;
    switch (condition) {
      case 'good':
        return this.log.info('the store is as it should be again');
      case 'behind':
        return this.log.warn('the store can be used, and is not as it should be', { problem });
      case 'down':
        return this.log.error('the store cannot be used: nothing is forwarded', { problem });
    }
  }
}

export interface BackoffSettings {
  /** Wait on each rung, ascending, in ms; the last one repeats. At least one. */
  readonly ladderMs: readonly number[];
  /** A cooldown longer than an hour, or exhaustion by a learned budget, is probed this often; 0: never. */
  readonly probeEveryMs: number;
}

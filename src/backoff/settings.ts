export interface BackoffSettings {
  /** Wait on each rung, ascending, in ms; the last one repeats. At least one. */
  readonly ladderMs: readonly number[];
  /**
   * What keeps requests out for longer than this is probed this often all the same, in ms: a long
   * cooldown, exhaustion by a learned budget. 0: never.
   */
  readonly probeEveryMs: number;
}

/** One table of the benchmarks. */
export interface Suite {
  readonly name: string;
  readonly title: string;
  run(options: SuiteOptions): Promise<SuiteResult>;
}

export interface SuiteOptions {
  readonly repetitions: number;
  /** Stretches or shortens every duration. */
  readonly scale: number;
  /** A trace file for `replay`. */
  readonly trace?: string | undefined;
}

export interface SuiteResult {
  /** Markdown. */
  readonly table: string;
  readonly goals: readonly Goal[];
  readonly raw: unknown;
}

export interface Goal {
  readonly what: string;
  readonly goal: string;
  readonly got: string;
  readonly met: boolean;
}

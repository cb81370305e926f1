/** What a scope's state and the event journal keep of what happened. Instants in epoch ms. */

/** Something that happened to the scope, kept with the change itself. */
export interface EventRecord {
  /** Of this scope only, rising: its instant, moved on by what shares it. */
  readonly id: number;
  readonly at: number;
  readonly kind: string;
  /** What brought it about: the upstream's refusal, time, the job, the operator… */
  readonly cause: string;
  /** The limit concerned, if it is one. */
  readonly limit: string | null;
  /** Of the request whose decision it was; null for the job, a start or the operator. */
  readonly requestId: string | null;
  readonly instance: string;
  /** Of the limit concerned, before the decision and after it. */
  readonly before: LimitFigures | null;
  readonly after: LimitFigures | null;
  /** The kind's own. */
  readonly details: Readonly<Record<string, EventDetail>>;
}

export type EventDetail = string | number | boolean | null;

export interface LimitFigures {
  /** What admission measures against; null: none yet. */
  readonly budget: number | null;
  /** As the budget's source is called. */
  readonly source: string;
  readonly used: number;
  readonly reserved: number;
  readonly orphaned: number;
  readonly others: number;
  readonly windowEndsAt: number | null;
}

export interface ToldGuard {
  readonly guard: string;
  readonly at: number;
}

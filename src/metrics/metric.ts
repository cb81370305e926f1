import type { DataPlane } from '../data-plane.js';
import type { ScopeView } from '../governor/scope-view.js';
import type { Counts } from '../platform/counts.js';
import type { HistogramReading } from '../platform/histogram.js';

/**
 * Whose figures a metric tells, and so how those of several instances go together:
 * - `process`: what this process has done since its start. Replicas add up.
 * - `state`: what the durable state says. It survives restarts, and is the same on every replica.
 * - `instance`: how this instance stands. Neither a sum nor a maximum of several means anything.
 */
export type Origin = 'process' | 'state' | 'instance';

/** Everything that one answer to `GET /metrics` is made of. */
export interface Snapshot {
  readonly plane: DataPlane;
  readonly version: string;
  /** Scopes whose state could be read. */
  readonly views: readonly ScopeView[];
  /** The scheduled job's latest success, epoch ms; null before the first. */
  readonly jobSucceededAt: number | null;
}

/** Values of a metric's labels; every one of its labels, and no others. */
export type Labels = Readonly<Record<string, string>>;

export interface Series<Value> {
  readonly labels: Labels;
  readonly value: Value;
}

interface MetricText {
  /** By the naming rules of Prometheus; `tidegate_scope_` and `tidegate_limit_` are for the state's. */
  readonly name: string;
  /** Besides `le`. Their values come from closed sets, or from the configuration. */
  readonly labels: readonly string[];
  /** One sentence, without its period. */
  readonly help: string;
  readonly origin: Origin;
}

/** One metric, and how it is read. `read` is synchronous, so that one answer tells of one moment. */
export type Metric = MetricText &
  (
    | { readonly type: 'counter' | 'gauge'; read(snapshot: Snapshot): readonly Series<number>[] }
    | { readonly type: 'histogram'; read(snapshot: Snapshot): readonly Series<HistogramReading>[] }
  );

/** A metric without labels. */
export function single<Value>(value: Value): Series<Value>[] {
  return [{ labels: {}, value }];
}

/** One series for each member of a closed set: 1 for what is the case, 0 for the others. */
export function stateSet(
  label: string,
  members: readonly string[],
  present: string | null,
  labels: Labels = {},
): Series<number>[] {
  return members.map((member) => ({
    labels: { ...labels, [label]: member },
    value: member === present ? 1 : 0,
  }));
}

/** The series of counts; `labels` of each owner and kind. */
export function byOwner<Kind extends string>(
  counts: Counts<Kind>,
  labels: (owner: string, kind: string) => Labels,
): Series<number>[] {
  return counts.read().map(({ owner, kind, count }) => ({
    labels: labels(owner, kind),
    value: count,
  }));
}

/** The members of a closed set, from a record that the compiler holds complete. */
export function membersOf<Member extends string>(record: Readonly<Record<Member, true>>): Member[] {
  return Object.keys(record) as Member[];
}

export function inSeconds(ms: number): number {
  return ms / 1_000;
}

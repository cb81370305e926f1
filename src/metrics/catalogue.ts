import { INSTANCE_METRICS } from './instance-metrics.js';
import { LIMIT_METRICS } from './limit-metrics.js';
import type { Metric } from './metric.js';
import { SCOPE_METRICS } from './scope-metrics.js';
import { TRAFFIC_METRICS } from './traffic-metrics.js';

/** Every metric of Tidegate's own, in the order of docs/reference/metrics.md. */
export const CATALOGUE: readonly (readonly [title: string, metrics: readonly Metric[]])[] = [
  ['Scopes', SCOPE_METRICS],
  ['Limits', LIMIT_METRICS],
  ['Traffic', TRAFFIC_METRICS],
  ['The instance and its store', INSTANCE_METRICS],
];

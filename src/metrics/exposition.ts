import { collectDefaultMetrics, type Metric as LibraryMetric, Registry } from 'prom-client';
import type { HistogramReading } from '../platform/histogram.js';
import { CATALOGUE } from './catalogue.js';
import { inSeconds, type Labels, type Metric, type Series, type Snapshot } from './metric.js';

/** Where a registry finds what to print; the library's own classes are more of the same kind. */
interface Printed {
  readonly metricName: string;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
}

/** The text format of Prometheus, with the library's metrics of Node itself. */
export class Exposition {
  readonly #registry = new Registry();
  #snapshot: Snapshot | null = null;

  constructor() {
    for (const [, metrics] of CATALOGUE) {
      for (const metric of metrics) this.#register(metric);
    }
    collectDefaultMetrics({ register: this.#registry });
  }

  /** The registry reads every metric before it yields, so the text tells of this snapshot alone. */
  print(snapshot: Snapshot): Promise<string> {
    this.#snapshot = snapshot;
    const text = this.#registry.metrics();
    this.#snapshot = null;
    return text;
  }

  /**
   * The library's counters and histograms are filled by counting. Ours have counted already, or stand
   * in the state: they are handed over as they are, in the one shape that the registry asks of a metric.
   */
  #register(metric: Metric): void {
    const { name, type, help } = metric;
    const get = async () => {
      const values = this.#snapshot === null ? [] : printed(metric, this.#snapshot);
      return { name, type, help, values, aggregator: 'sum' };
    };
    this.#registry.registerMetric({ name, type, help, get } as unknown as LibraryMetric);
  }
}

function printed(metric: Metric, snapshot: Snapshot): Printed[] {
  const { name } = metric;
  if (metric.type === 'histogram') {
    return metric.read(snapshot).flatMap((series) => printHistogram(name, series));
  }
  return metric.read(snapshot).map(({ labels, value }) => ({ metricName: name, labels, value }));
}

function printHistogram(name: string, { labels, value }: Series<HistogramReading>): Printed[] {
  const { boundsMs, upTo, count, sumMs } = value;
  const bucket = (le: string | number, inBuckets: number): Printed => ({
    metricName: `${name}_bucket`,
    labels: { ...labels, le },
    value: inBuckets,
  });
  const total = (suffix: string, sum: number, own: Labels = labels): Printed => ({
    metricName: `${name}_${suffix}`,
    labels: own,
    value: sum,
  });
  return [
    ...boundsMs.map((bound, index) => bucket(inSeconds(bound), upTo[index] ?? count)),
    bucket('+Inf', count),
    total('sum', inSeconds(sumMs)),
    total('count', count),
  ];
}

import { parser } from '@prometheus-io/lezer-promql';
import type { Scrape } from './prometheus-text.js';

interface Matcher {
  readonly label: string;
  readonly operator: string;
  readonly value: string;
}

interface Selector {
  readonly metric: string;
  readonly matchers: readonly Matcher[];
}

interface Query {
  readonly selectors: readonly Selector[];
  /** Labels of `by`, `on` and the like. */
  readonly groupings: readonly string[];
}

/** Labels that Prometheus gives to whatever it scrapes. */
const OF_THE_TARGET = ['job', 'instance'];
/** Written by Prometheus itself about every target. */
const OF_PROMETHEUS = ['up'];

/** What a PromQL expression asks for, by Prometheus' own grammar; throws where it is none. */
export function readQuery(expression: string): Query {
  // Grafana puts a duration here before Prometheus sees it.
  const text = expression.replaceAll('$__rate_interval', '5m').replaceAll('$__range', '5m');
  const selectors: { metric: string; matchers: Matcher[] }[] = [];
  const groupings: string[] = [];
  let inGrouping = false;
  let matcher = { label: '', operator: '' };
  parser.parse(text).iterate({
    enter: ({ type, from, to }) => {
      const part = text.slice(from, to);
      if (type.isError) throw new Error(`no PromQL at ${from}: ${text}`);
      if (type.name === 'VectorSelector') selectors.push({ metric: '', matchers: [] });
      if (type.name === 'Identifier') selectors.at(-1)!.metric = part;
      if (type.name === 'GroupingLabels') inGrouping = true;
      if (type.name === 'LabelName' && inGrouping) groupings.push(part);
      if (type.name === 'LabelName' && !inGrouping) matcher = { label: part, operator: '' };
      if (type.name === 'MatchOp') matcher.operator = part;
      if (type.name === 'StringLiteral' && matcher.operator !== '') {
        selectors.at(-1)!.matchers.push({ ...matcher, value: part.slice(1, -1) });
        matcher = { label: '', operator: '' };
      }
    },
    leave: ({ type }) => {
      if (type.name === 'GroupingLabels') inGrouping = false;
    },
  });
  return { selectors, groupings };
}

/** Everything in an expression that the scrape does not have: metrics, labels, values of labels. */
export function unknownIn(expression: string, scrape: Scrape): string[] {
  const { selectors, groupings } = readQuery(expression);
  const unknown: string[] = [];
  const labels = new Set(OF_THE_TARGET);
  for (const { metric, matchers } of selectors) {
    if (OF_PROMETHEUS.includes(metric)) continue;
    const series = scrape.named(metric);
    if (series.length === 0) unknown.push(metric);
    for (const line of series) Object.keys(line.labels).forEach((label) => labels.add(label));
    for (const { label, operator, value } of matchers) {
      if (OF_THE_TARGET.includes(label)) continue;
      const values = new Set(series.map((line) => line.labels[label]));
      if (values.has(undefined)) unknown.push(`${metric}{${label}}`);
      // A variable of the dashboard.
      if (value.startsWith('$')) continue;
      const named = operator.includes('~') ? value.split('|') : [value];
      for (const one of named) {
        if (!values.has(one)) unknown.push(`${metric}{${label}="${one}"}`);
      }
    }
  }
  unknown.push(...groupings.filter((label) => !labels.has(label)));
  return unknown;
}

import type { Counts } from '../platform/counts.js';
import { byOwner, type Metric, type Series, single } from './metric.js';

/** What this process has done since its start. */
export const TRAFFIC_METRICS: readonly Metric[] = [
  {
    name: 'tidegate_admissions_total',
    type: 'counter',
    labels: ['scope'],
    help: 'Metered requests let through; in observe mode those that would have been refused, too',
    origin: 'process',
    read: ({ plane }) => byOwner(plane.proxy.tally.admissions, (scope) => ({ scope })),
  },
  {
    name: 'tidegate_refusals_total',
    type: 'counter',
    labels: ['scope', 'decision'],
    help: 'Local refusals; scope is empty where the request was refused before its scope was looked for',
    origin: 'process',
    read: ({ plane: { proxy } }) => [
      ...byOwner(proxy.tally.refusals, (scope, decision) => ({ scope, decision })),
      { labels: { scope: '', decision: 'state' }, value: proxy.tally.refusalsWithoutScope },
    ],
  },
  {
    name: 'tidegate_observed_refusals_total',
    type: 'counter',
    labels: ['scope', 'decision'],
    help: 'Observe mode: metered requests that passed and would have been refused',
    origin: 'process',
    read: ({ plane }) =>
      byOwner(plane.proxy.tally.observed, (scope, decision) => ({ scope, decision })),
  },
  {
    name: 'tidegate_upstream_answers_total',
    type: 'counter',
    labels: ['upstream', 'metered', 'class'],
    help: 'Answers of the upstream by status; none: it failed before it sent one',
    origin: 'process',
    read: ({ plane: { proxy } }) => [
      ...answers(proxy.tally.metered, 'true'),
      ...answers(proxy.tally.unmetered, 'false'),
    ],
  },
  {
    name: 'tidegate_admission_seconds',
    type: 'histogram',
    labels: ['outcome'],
    help: 'Added latency: from the whole body of a metered request to the decision, durable if it admits',
    origin: 'process',
    read: ({ plane }) =>
      Object.entries(plane.proxy.tally.decisionMs).map(([outcome, histogram]) => ({
        labels: { outcome },
        value: histogram.read(),
      })),
  },
  {
    name: 'tidegate_first_byte_added_seconds',
    type: 'histogram',
    labels: [],
    help: 'Added latency to the first byte: admission, and from the head of the answer to our own; without answers that may be refusals',
    origin: 'process',
    read: ({ plane }) => single(plane.proxy.tally.firstByteMs.read()),
  },
  {
    name: 'tidegate_unread_answers_total',
    type: 'counter',
    labels: [],
    help: 'Answers cut off because their client took nothing of them for ten minutes',
    origin: 'process',
    read: ({ plane }) => single(plane.proxy.tally.unreadAnswers),
  },
  {
    name: 'tidegate_in_flight_requests',
    type: 'gauge',
    labels: [],
    help: 'Requests under way, metered or not, until they are settled',
    origin: 'process',
    read: ({ plane }) => single(plane.proxy.inFlight),
  },
  {
    name: 'tidegate_held_bytes',
    type: 'gauge',
    labels: [],
    help: 'Bodies of metered requests in memory; at most 256 MiB',
    origin: 'process',
    read: ({ plane }) => single(plane.proxy.heldBytes),
  },
  {
    name: 'tidegate_nudges_total',
    type: 'counter',
    labels: ['scope', 'limit', 'outcome'],
    help: 'Looks of the scheduled job at a budget: raised, or the guard that held it back',
    origin: 'process',
    read: ({ plane: { governor } }) =>
      governor.scopes.flatMap((scope) =>
        byOwner(governor.nudges(scope), (limit, outcome) => ({ scope, limit, outcome })),
      ),
  },
];

function answers(counts: Counts<string>, metered: 'true' | 'false'): Series<number>[] {
  return byOwner(counts, (upstream, kind) => ({ upstream, metered, class: kind }));
}

/** docs/reference/metrics.md, made from the catalogue; test/e2e/metrics.test.ts keeps them equal. */
import { CATALOGUE } from '../../src/metrics/catalogue.js';
import type { Metric } from '../../src/metrics/metric.js';
import type { Family } from '../support/prometheus-text.js';

export const DOCUMENT = new URL('../../docs/reference/metrics.md', import.meta.url);

const INTRODUCTION = `# Metrics

<!-- Made from src/metrics. After a change there: npm run build && UPDATE_DOCS=1 npx vitest run test/e2e/metrics.test.ts -->

\`GET /metrics\` on the control port, in the text format of Prometheus (0.0.4). With \`TIDEGATE_ADMIN_TOKEN\` it needs
\`Authorization: Bearer …\`, like \`/status\`. A scrape reads the views that \`/status\` shows, all at one moment, and writes nothing.
How to scrape it, and what to look at: [monitoring](../guides/monitoring.md); what to be woken for: [alerts](../guides/alerts.md).

## How figures of several instances go together

| from | what it is | after a restart | several instances on one state |
|---|---|---|---|
| process | what this process has done since its start | begins at 0, which \`rate()\` expects | add them up: \`sum by (scope) (rate(…))\` |
| state | what the durable state says; names begin with \`tidegate_scope_\` or \`tidegate_limit_\` | goes on | all say the same: take \`max by (job, scope) (…)\`, **never a sum** |
| instance | how this instance stands | as it then is | look at each by itself |

Give every state a \`job\` of its own in the scrape configuration, so that \`max by (job, scope)\` never mixes two of them.

The values of all labels come from closed sets or from the configuration; what is in no set counts as \`other\`. No label ever holds
a model's name, a key, a fingerprint, or anything else that a client sends. One scope with one limit makes about 170 series, and Node
about 80; 64 scopes with 8 limits each, the most there can be, make 12,700 (0.9 MB and 30 ms for a scrape).
`;

export function renderReference(ofNode: readonly Family[]): string {
  const chapters = CATALOGUE.flatMap(([title, metrics]) => [
    `## ${title}`,
    '',
    '| name | type | labels | from | what it tells |',
    '|---|---|---|---|---|',
    ...metrics.map(row),
    '',
  ]);
  return [INTRODUCTION, ...chapters, ...chapterOfNode(ofNode)].join('\n');
}

function row({ name, type, labels, origin, help }: Metric): string {
  const named = labels.map((label) => `\`${label}\``).join(' ');
  return `| \`${name}\` | ${type} | ${named} | ${origin} | ${help.replaceAll('|', '\\|')} |`;
}

function chapterOfNode(families: readonly Family[]): string[] {
  return [
    '## Node.js',
    '',
    'From the library prom-client, all of this process. The first to look at are `nodejs_eventloop_lag_p99_seconds` (a busy loop delays',
    'every request) and `process_resident_memory_bytes`.',
    '',
    '| name | type |',
    '|---|---|',
    ...families.map(({ name, type }) => `| \`${name}\` | ${type} |`),
    '',
  ];
}

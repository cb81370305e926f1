import { formatCount, formatDuration } from '../config/format.js';
import { rfc3339 } from '../platform/clock.js';
import type { Refusal, ReplayResult, ReplayRow } from './replay.js';
import { alignRight, percent } from './report.js';

/** Refusals listed one by one, each with the settings that would have avoided it. */
const MOST_LISTED = 40;

/** A replay as a person reads it: what was inferred, a line a setting, the refusals, what can't be known. */
export function formatReplay(result: ReplayResult, given: boolean): string {
  return [
    ...formatLimit(result, given),
    '',
    formatRows([result.logged, ...result.settings]),
    '',
    ...formatRefusals(result),
    ...formatCaveats(result),
    '',
  ].join('\n');
}

function formatLimit({ limit, inferred }: ReplayResult, given: boolean): string[] {
  const { samples, taken, unexplained } = inferred;
  const tokens = samples.map((sample) => sample.tokens);
  const lines = [
    `The upstream's limit: ${formatCount(limit)} tokens a window, ${given ? 'as given' : 'inferred'}. ` +
      `It refused at ${rangeOf(tokens)} and still took a request at ${formatCount(Math.round(taken))}.`,
  ];
  if (tokens.length > 0 && Math.max(...tokens) > 1.1 * Math.min(...tokens)) {
    lines.push(
      'These differ: the limit changed, or others use it too. One limit explains only a part.',
    );
  }
  if (unexplained > 0) {
    lines.push(
      `${unexplained} refusals say nothing of this limit (a rate, a fault, an empty window).`,
    );
  }
  return lines;
}

function rangeOf(tokens: readonly number[]): string {
  if (tokens.length === 0) return 'no charge that is on record';
  const [least, most] = [Math.min(...tokens), Math.max(...tokens)].map((one) => formatCount(one));
  return least === most ? `${least}` : `${least} to ${most}`;
}

function formatRows(rows: readonly ReplayRow[]): string {
  const widest = Math.max('setting'.length, ...rows.map(({ name }) => name.length));
  const head = [
    'setting'.padEnd(widest),
    'upstream 429s',
    'avoided',
    'new',
    'used',
    'refused here',
    'longest wait',
  ];
  const cells = rows.map((row) => [
    row.name.padEnd(widest),
    String(row.upstream429),
    row.utilisation === null ? '-' : String(row.avoided.length),
    row.utilisation === null ? '-' : String(row.others),
    row.utilisation === null ? '-' : percent(row.utilisation),
    String(row.localRefusals),
    formatDuration(1_000 * Math.round(row.longestWaitMs / 1_000)),
  ]);
  return alignRight([head, ...cells]);
}

function formatRefusals({ logged, settings }: ReplayResult): string[] {
  const refusals = logged.notAvoided;
  if (refusals.length === 0) return ['The log has no 429 of the upstream.', ''];
  const listed = refusals.slice(0, MOST_LISTED).map((refusal) => {
    const by = settings.filter(({ avoided }) => avoided.some((one) => isSame(one, refusal)));
    const names = by.length === 0 ? 'none' : by.map(({ name }) => name).join(', ');
    return `  ${rfc3339(refusal.at)}  ${refusal.requestId}  avoided by: ${names}`;
  });
  const more = refusals.length - listed.length;
  return [
    'The 429s of the upstream in the log:',
    ...listed,
    ...(more > 0 ? [`  and ${more} more: --json lists them all`] : []),
    '',
  ];
}

function isSame(one: Refusal, other: Refusal): boolean {
  return one.requestId === other.requestId && one.at === other.at;
}

function formatCaveats({ requests, neverAnswered }: ReplayResult): string[] {
  return [
    "What can't be known:",
    `  ${formatCount(neverAnswered)} of ${formatCount(requests)} requests were never answered, and are taken at their estimate.`,
    '  What agents did not ask for because they were refused is in no log.',
    '  Each setting starts without memory: a budget that is learned pays for its first sample here.',
    '  A budget is where Tidegate begins: it tries for more when nothing was refused for a window ("new").',
    '  The upstream is taken to count as told, with nobody else on it.',
  ];
}

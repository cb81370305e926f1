import type { SimulationResult, WindowResult } from './results.js';

/** Rows of a plot, each this share of its top. */
const ROWS = 8;
/** Windows beyond this are shown several to a column. */
const COLUMNS = 60;
/** Windows beyond this are summed up in lines of several. */
const LINES = 40;

/** A run as a person reads it: a table of windows, a plot of them, the totals. */
export function formatResult(result: SimulationResult): string {
  const { totals, strategy, seed } = result;
  const { utilisation, upstream429, upstream429PerWindow, maxConsecutive429 } = totals;
  return [
    formatTable(result),
    '',
    formatPlot(result),
    '',
    `strategy ${strategy}, seed ${seed}, ${result.windows.length} windows`,
    `utilisation ${percent(utilisation)} · upstream 429s ${upstream429} ` +
      `(${upstream429PerWindow.toFixed(2)} a window, at most ${maxConsecutive429} in a row)`,
    `charged beyond the limit ${count(totals.overAdmittedTokens)} tokens · ` +
      `orphaned ${count(totals.orphanedTokens)} tokens`,
    `requests answered ${count(totals.answered)} · given up ${count(totals.givenUp)}`,
    '',
  ].join('\n');
}

function formatTable({ windows, totals }: SimulationResult): string {
  const head = ['window', 'at', 'limit', 'budget', 'admitted', 'used', '429s', 'refused', 'waited'];
  const size = Math.ceil(windows.length / LINES);
  const rows = chunks(windows, size).map((group, index) => {
    const last = index * size + group.length;
    const number = size === 1 ? String(last) : `${index * size + 1}-${last}`;
    const budget = totals.budget[last - 1] ?? null;
    return [
      number,
      `${((group[0]?.start ?? 0) / 3_600_000).toFixed(1)}h`,
      count(mean(group, (window) => window.upstreamLimit)),
      budget === null ? '-' : count(budget),
      count(mean(group, (window) => window.admittedTokens)),
      percent(mean(group, (window) => window.utilisation)),
      String(group.reduce((sum, window) => sum + window.upstream429, 0)),
      String(group.reduce((sum, window) => sum + window.localRefusals, 0)),
      `${Math.round(Math.max(...group.map((window) => window.longestWaitMs)) / 60_000)}m`,
    ];
  });
  return alignRight([head, ...rows]);
}

/** A line a row, each column as wide as its widest cell. */
export function alignRight(rows: readonly (readonly string[])[]): string {
  const widthOf = (column: number) => Math.max(...rows.map((row) => row[column]?.length ?? 0));
  return rows
    .map((row) => row.map((cell, column) => cell.padStart(widthOf(column))).join('  '))
    .join('\n');
}

/** `#` what was admitted, `o` the budget, `-` the limit, `x` below: a 429. */
function formatPlot({ windows, totals }: SimulationResult): string {
  const size = Math.ceil(windows.length / COLUMNS);
  const columns = chunks(windows, size).map((group, index) => ({
    admitted: mean(group, (window) => window.admittedTokens),
    limit: mean(group, (window) => window.upstreamLimit),
    budget: totals.budget[index * size + group.length - 1] ?? 0,
    refused: group.some((window) => window.upstream429 > 0),
  }));
  const top = Math.max(1, ...columns.flatMap(({ limit, budget }) => [limit, budget]));
  const lines: string[] = [];
  for (let row = ROWS; row >= 1; row -= 1) {
    const cells = columns.map(({ admitted, limit, budget }) => {
      const at = (amount: number) => Math.max(1, Math.ceil((amount / top) * ROWS)) === row;
      if (budget > 0 && at(budget)) return 'o';
      if (at(limit)) return '-';
      return Math.round((admitted / top) * ROWS) >= row ? '#' : ' ';
    });
    const label = row === ROWS ? count(top) : '';
    lines.push(`${label.padStart(9)} |${cells.join('')}`.trimEnd());
  }
  lines.push(`${'0'.padStart(9)} +${'-'.repeat(columns.length)}`);
  lines.push(
    `${'429'.padStart(9)}  ${columns.map(({ refused }) => (refused ? 'x' : ' ')).join('')}`.trimEnd(),
  );
  lines.push(`${''.padStart(11)}# admitted  o budget  - limit  x a 429 of the upstream`);
  return lines.join('\n');
}

function chunks<Value>(values: readonly Value[], size: number): readonly (readonly Value[])[] {
  const groups: Value[][] = [];
  for (let at = 0; at < values.length; at += Math.max(1, size)) {
    groups.push(values.slice(at, at + Math.max(1, size)));
  }
  return groups;
}

function mean(
  windows: readonly WindowResult[],
  amountOf: (window: WindowResult) => number,
): number {
  return windows.reduce((sum, window) => sum + amountOf(window), 0) / Math.max(1, windows.length);
}

export function percent(share: number): string {
  return `${(share * 100).toFixed(1)}%`;
}

/** Thousands apart, as they are read. */
function count(amount: number): string {
  return String(Math.round(amount)).replace(/\B(?=(\d{3})+$)/g, ',');
}

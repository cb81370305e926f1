import { loadConfig, type LoadResult } from '../config/load.js';
import { formatProblem, type Problem } from '../config/problem.js';
import type { Terminal } from './terminal.js';

export function loadFrom(terminal: Terminal): LoadResult {
  return loadConfig(terminal.env, terminal.cwd, terminal.machine);
}

/** All mistakes, for stderr. */
export function formatProblems(
  problems: readonly Problem[],
  where = 'configuration',
  help = 'tidegate help settings',
): string {
  const count = problems.length === 1 ? 'a mistake' : `${problems.length} mistakes`;
  const lines = problems.map((problem) => `  ${formatProblem(problem)}\n`);
  return (
    `tidegate: there is ${count} in the ${where}\n`.replace(/there is (\d)/, 'there are $1') +
    lines.join('') +
    `What can be set: ${help}\n`
  );
}

export function formatWarnings(warnings: readonly string[]): string {
  return warnings.map((warning) => `tidegate: warning: ${warning}\n`).join('');
}

import type { Config } from '../config/config.js';
import { loadConfig, type LoadResult } from '../config/load.js';
import { formatProblem, type Problem } from '../config/problem.js';
import { TidegateError } from '../platform/tidegate-error.js';
import type { Terminal } from './terminal.js';

export function loadFrom(terminal: Terminal): LoadResult {
  return loadConfig(terminal.env, terminal.cwd, terminal.machine);
}

/**
 * The configuration, for a command that needs it; what has no effect in it is told.
 *
 * @throws TidegateError CONFIG_INVALID.
 */
export function mustLoadFrom(terminal: Terminal): Config {
  const result = loadFrom(terminal);
  terminal.err(formatWarnings(result.warnings));
  if (result.ok) return result.config;
  throw new TidegateError('CONFIG_INVALID', describeProblems(result.problems));
}

/** All mistakes, for stderr. */
export function formatProblems(
  problems: readonly Problem[],
  where = 'configuration',
  help = 'tidegate help settings',
): string {
  return `tidegate: ${describeProblems(problems, where, help)}\n`;
}

function describeProblems(
  problems: readonly Problem[],
  where = 'configuration',
  help = 'tidegate help settings',
): string {
  const count = problems.length === 1 ? 'a mistake' : `${problems.length} mistakes`;
  const lines = problems.map((problem) => `  ${formatProblem(problem)}\n`);
  return (
    `there is ${count} in the ${where}\n`.replace(/^there is (\d)/, 'there are $1') +
    lines.join('') +
    `What can be set: ${help}`
  );
}

export function formatWarnings(warnings: readonly string[]): string {
  return warnings.map((warning) => `tidegate: warning: ${warning}\n`).join('');
}

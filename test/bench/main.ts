/**
 * `npm run bench [-- SUITE …] [--repetitions N] [--scale X] [--json FILE] [--trace FILE]`
 *
 * Measures in one run what is compared, and prints medians with the lowest and highest repetition.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
import { admission } from './admission.js';
import { json, rate, slow, sse } from './http.js';
import { canPin, hasNginx } from './processes.js';
import { replay } from './replay.js';
import { state } from './state.js';
import type { Suite, SuiteResult } from './suite.js';

const SUITES: readonly Suite[] = [json, rate, sse, slow, state, admission, replay];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    repetitions: { type: 'string', default: '5' },
    scale: { type: 'string', default: '1' },
    json: { type: 'string' },
    trace: { type: 'string' },
  },
});
const unknown = positionals.filter((name) => !SUITES.some((suite) => suite.name === name));
if (unknown.length > 0) {
  const names = SUITES.map(({ name }) => name).join(' ');
  process.stderr.write(`no such suite: ${unknown.join(' ')}; there are: ${names}\n`);
  process.exit(64);
}
const chosen =
  positionals.length === 0 ? SUITES : SUITES.filter(({ name }) => positionals.includes(name));
const options = {
  repetitions: Number(values.repetitions),
  scale: Number(values.scale),
  trace: values.trace,
};

const machine = {
  cpu: cpus()[0]?.model ?? 'unknown',
  cores: cpus().length,
  memoryGiB: Math.round(totalmem() / 2 ** 30),
  system: `${process.platform} ${release()}`,
  node: process.version,
  commit: commit(),
  pinned: canPin,
  nginx: hasNginx,
};
say(
  `${machine.cores} x ${machine.cpu}, ${machine.memoryGiB} GiB, ${machine.system}, Node.js ${machine.node}, commit ${machine.commit}`,
);
if (!canPin) say('taskset is not installed: processes are not pinned to cores, figures will vary');
if (!hasNginx) say('nginx is not installed: its rows are left out');

const results: Record<string, SuiteResult> = {};
for (const suite of chosen) {
  say(`\n### ${suite.title}\n`);
  const result = await suite.run(options);
  results[suite.name] = result;
  say(result.table);
  for (const { what, goal, got, met } of result.goals) {
    say(`\n${met ? 'met' : 'MISSED'}: ${what}: ${got} (goal ${goal})`);
  }
}
if (values.json !== undefined) {
  writeFileSync(values.json, `${JSON.stringify({ machine, options, results }, null, 1)}\n`);
}
process.exit();

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

function commit(): string {
  try {
    const git = (...args: string[]) => execFileSync('git', args, { encoding: 'utf8' }).trim();
    const changed = git('status', '--porcelain', '--untracked-files=no') !== '';
    return git('rev-parse', '--short', 'HEAD') + (changed ? ' with changes' : '');
  } catch {
    return 'unknown';
  }
}

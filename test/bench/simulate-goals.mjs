/**
 * Measures the goals of docs/concepts/controller.md: every world over several seeds, Tidegate beside the
 * other strategies. Runs on the built program: `npm run bench:simulate -- [--seeds 5] [--first 1] [--only WORD]
 * [--strategies tidegate,literal] [--trace FILE]`.
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { readWorld } from '../../build/simulate/read-world.js';
import { simulate } from '../../build/simulate/simulation.js';
import { goalsWith } from './goals.mjs';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '5' },
    first: { type: 'string', default: '1' },
    only: { type: 'string', default: '' },
    strategies: { type: 'string', default: 'tidegate,literal' },
    trace: { type: 'string' },
    verbose: { type: 'boolean', default: false },
  },
});
const first = Number(values.first);
const seeds = Array.from({ length: Number(values.seeds) }, (_, index) => index + first);
const strategies = values.strategies.split(',');

/** The result, and what happened on the way, in ms since the start. */
async function run(world, seed, strategy) {
  const text = JSON.stringify({ ...world, seed });
  const read = readWorld(text, 'world', (path) => readFileSync(path, 'utf8'));
  if (!read.ok) throw new Error(JSON.stringify(read.problems));
  const told = { refusals: [], events: [] };
  const result = await simulate(read.world, {
    strategy,
    onRefusal: (_request, at) => told.refusals.push(at),
    onEvent: ({ kind }, at) => told.events.push({ kind, at }),
  });
  return { result, told };
}

const mean = (numbers) => numbers.reduce((sum, number) => sum + number, 0) / numbers.length;

console.log(`| world | ${strategies.map((name) => `${name}: used, 429s`).join(' | ')} | goal |`);
console.log(`|---|${strategies.map(() => '---|').join('')}---|`);
for (const { name, world, measure, goal } of goalsWith(values.trace ?? null)) {
  if (!name.includes(values.only)) continue;
  const described = readWorld(JSON.stringify(world), 'world', (path) => readFileSync(path, 'utf8'));
  if (!described.ok) {
    console.log(
      `| ${name} | ${described.problems[0].message} |${' |'.repeat(strategies.length - 1)} ${goal} |`,
    );
    continue;
  }
  const cells = [];
  for (const strategy of strategies) {
    const measured = [];
    for (const seed of seeds) {
      const { result, told } = await run(world, seed, strategy);
      const twin = measure.twin === undefined ? null : await run(measure.twin, seed, strategy);
      measured.push(measure.of(result, twin?.result ?? null, told));
    }
    const keys = Object.keys(measured[0]);
    cells.push(
      keys
        .map((key) => `${key} ${mean(measured.map((figures) => figures[key])).toFixed(3)}`)
        .join(', '),
    );
    if (values.verbose) for (const figures of measured) console.log('   ', strategy, figures);
  }
  console.log(`| ${name} | ${cells.join(' | ')} | ${goal} |`);
}

import { writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { progressBar } from '../../src/cli/progress-bar.js';
import { run } from '../../src/cli/simulate.js';
import { terminalOf } from '../../src/cli/terminal.js';
import { TemporaryDirectory } from '../support/temporary-directory.js';

/** What a terminal shows in the end: a carriage return begins the line anew, over what stood there. */
function screenOf(written: readonly string[]): string {
  let line = '';
  for (const part of written.join('').split('\r')) line = part + line.slice(part.length);
  return line;
}

describe('the bar', () => {
  it('fills as the windows go by, written once for each change that can be seen', () => {
    const written: string[] = [];
    const bar = progressBar((text) => written.push(text), 1_000);
    for (let seen = 0; seen <= 1_000; seen += 1) bar.show(seen);
    expect(written).toHaveLength(31);
    expect(written[0]).toBe(`\r[${' '.repeat(30)}] 0 of 1000 windows`);
    expect(written[15]).toBe(`\r[${'='.repeat(15)}${' '.repeat(15)}] 500 of 1000 windows`);
    expect(screenOf(written)).toBe(`[${'='.repeat(30)}] 1000 of 1000 windows`);
  });

  it('never runs over, and leaves an empty line', () => {
    const written: string[] = [];
    const bar = progressBar((text) => written.push(text), 4);
    for (const seen of [1, 4, 5]) bar.show(seen);
    expect(screenOf(written)).toMatch(/^\[={30}\] /);
    bar.clear();
    expect(screenOf(written).trim()).toBe('');
    expect(written.at(-1)).toMatch(/\r$/);
  });
});

describe('tidegate simulate', () => {
  let directory: TemporaryDirectory;
  beforeEach(() => {
    directory = new TemporaryDirectory();
    const world = { windows: 6, upstream: { limit: 100_000 }, demand: { load: 0.3, sessions: 2 } };
    writeFileSync(directory.at('world.json'), JSON.stringify(world));
  });
  afterEach(() => directory.dispose());

  /** Runs it with streams of our own. */
  async function simulated(isTTY: boolean) {
    const told: string[] = [];
    const out: string[] = [];
    const stream = (into: string[]) => ({
      isTTY,
      on: () => {},
      write: (text: string) => into.push(text),
    });
    const streams = { stdin: {}, stdout: stream(out), stderr: stream(told) };
    const terminal = terminalOf({}, '/', streams as unknown as NodeJS.Process);
    expect(await run(['--world', directory.at('world.json'), '--json'], terminal)).toBe(0);
    return { told, result: JSON.parse(out.join('')) as { windows: unknown[] } };
  }

  it('shows it where a person looks on, and takes it away before the result', async () => {
    const { told, result } = await simulated(true);
    expect(result.windows).toHaveLength(6);
    expect(told.length).toBeGreaterThan(5);
    const seen = told.flatMap((text) => /\] (\d+) of 6 windows$/.exec(text)?.[1] ?? []).map(Number);
    expect(seen).toEqual(seen.toSorted((a, b) => a - b));
    expect(screenOf(told).trim()).toBe('');
  });

  it('writes nothing of it where nobody does', async () => {
    const { told, result } = await simulated(false);
    expect(told).toEqual([]);
    expect(result).toEqual((await simulated(true)).result);
  });
});

import { describe, expect, it } from 'vitest';
import { formatProblem } from '../../src/config/problem.js';
import { readWorld } from '../../src/simulate/read-world.js';
import { formatResult } from '../../src/simulate/report.js';
import { run, world } from './worlds.js';

function problems(text: string): readonly string[] {
  const read = readWorld(text, 'world.yaml', (path) => {
    if (path !== 'short.jsonl') throw new Error('no such file');
    return '{"session":"a","t":0}\n';
  });
  return read.ok ? [] : read.problems.map(formatProblem);
}

describe('a world file', () => {
  it('is JSON or YAML, and says no more than it wants to', () => {
    const yaml = 'upstream:\n  limit: 1_000\n  kind: fixed\nrestarts: []\nclock: null\n';
    const read = readWorld(yaml, 'w', () => '');
    expect(read).toMatchObject({
      ok: true,
      world: {
        windows: 40,
        upstream: { limit: 1000, windowMs: 18_000_000, retryAfter: true },
        governor: { budget: null, windowMs: 18_000_000, windowKind: 'fixed', nudge: 0.03 },
        demand: { load: 1.5, tokens: { median: 700, p90: 4200, p99: 54_000 } },
      },
    });
    const json = JSON.stringify({
      upstream: { limit: 1e6, headers: 'none' },
      clock: [{ at: '30h', step: '-10m' }],
    });
    expect(readWorld(json, 'w', () => '')).toMatchObject({
      ok: true,
      world: { clock: [{ stepMs: -600_000 }] },
    });
  });

  it('has all its mistakes told at once, each with path, value and what is allowed', () => {
    const told = problems(
      [
        'windows: 0',
        'upstream: { kind: leaky, changes: [{ at: 100 }], othersUse: 2 }',
        'demand: { load: -1, tokens: { median: 9, p90: 8 }, trace: short.jsonl }',
        'restarts: often',
        'clocks: []',
      ].join('\n'),
    );
    for (const expected of [
      /^windows \(world.yaml:1\): "0" is out of range\. Allowed: a whole number from 1 to/,
      /^upstream\.kind .*"leaky" is not known\. Allowed: one of fixed, sliding, bucket/,
      /^upstream\.limit .*is missing/,
      /^upstream\.othersUse .*"2" is out of range/,
      /^upstream\.changes\[0\]\.at .*"100" is not a duration/,
      /^upstream\.changes\[0\]\.limit .*is missing/,
      /^demand\.load .*"-1" is not a number/,
      /^demand\.tokens .*does not ascend/,
      /^demand\.trace .*has no request in line 1/,
      /^restarts .*is not a list/,
      /^clocks .*is not a setting here; did you mean "clock"\?/,
    ]) {
      expect(
        told.filter((line) => expected.test(line)),
        String(expected),
      ).toHaveLength(1);
    }
    expect(told).toHaveLength(11);
  });

  it('that is no world is told so', () => {
    expect(problems('')).toHaveLength(1);
    expect(problems('[1]')).toHaveLength(1);
    expect(problems('upstream: {limit: 1000}\ndemand: {trace: none.jsonl}')).toMatchObject([
      expect.stringContaining('cannot be read'),
    ]);
  });
});

describe('a run', () => {
  it('is repeated by its seed, and only by it', async () => {
    const described = world({ windows: 3 });
    const [one, same, other] = [
      await run(described),
      await run(described),
      await run({ ...described, seed: 2 }),
    ];
    expect(same).toEqual(one);
    expect(other.windows).not.toEqual(one.windows);
  });

  it('replays recorded sessions, and splits the demand among replicas', async () => {
    const line = (session: string, t: number) =>
      JSON.stringify({
        session,
        t,
        model: 'm',
        input: 900,
        cacheRead: 9000,
        output: 100,
        seconds: 4,
      });
    const trace = [line('a', 0), line('a', 20), line('b', 0), line('b', 90)].join('\n');
    const read = readWorld(
      JSON.stringify({
        windows: 4,
        replicas: 2,
        upstream: { limit: 100_000 },
        governor: { budget: 100_000 },
        demand: { trace: 't.jsonl' },
      }),
      'w',
      () => trace,
    );
    if (!read.ok) throw new Error('no world');
    const { windows } = await run(read.world);
    expect(windows).toHaveLength(4);
    for (const { admittedTokens } of windows) expect(admittedTokens).toBeGreaterThan(90_000);
  });

  it('is shown as a table and a plot', async () => {
    const text = formatResult(await run(world({ windows: 5 })));
    expect(text).toMatch(/window +at +limit +budget/);
    expect(text).toContain('strategy tidegate, seed 1, 5 windows');
    expect(text.split('\n').filter((line) => line.includes('|'))).toHaveLength(8);
  });
});

import { writeFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { TemporaryDirectory } from '../support/temporary-directory.js';
import { tidegate } from './run.js';

const directory = new TemporaryDirectory();
afterAll(() => directory.dispose());
let files = 0;

function worldFile(text: string): string {
  files += 1;
  const path = directory.at(`world-${files}.json`);
  writeFileSync(path, text);
  return path;
}

const WORLD = JSON.stringify({ windows: 2, upstream: { limit: 100_000 } });

describe('simulate', () => {
  it('prints what happened as data, the same for the same seed', async () => {
    const world = worldFile(WORLD);
    const args = ['simulate', '--world', world, '--json', '--seed', '7'];
    const [one, same] = await Promise.all([tidegate(args), tidegate(args)]);
    expect(one).toEqual(same);
    expect(one).toMatchObject({ code: 0, err: '' });
    const result = JSON.parse(one.out) as Record<string, unknown>;
    expect(result).toMatchObject({
      strategy: 'tidegate',
      seed: 7,
      totals: { maxConsecutive429: expect.any(Number) },
    });
    expect(result['windows']).toMatchObject([
      { start: expect.any(Number), admittedTokens: expect.any(Number), upstreamLimit: 100_000 },
      {
        utilisation: expect.any(Number),
        upstream429: expect.any(Number),
        localRefusals: expect.any(Number),
        longestWaitMs: expect.any(Number),
      },
    ]);
  });

  it('prints a table without --json', async () => {
    const { code, out } = await tidegate([
      'simulate',
      '--world',
      worldFile(WORLD),
      '--strategy',
      'aimd',
    ]);
    expect(code).toBe(0);
    expect(out).toContain('strategy aimd, seed 1, 2 windows');
  });

  it('tells every mistake in the world and exits with 78', async () => {
    const { code, out, err } = await tidegate([
      'simulate',
      '--world',
      worldFile('{"windows": 0, "upsteam": {}}'),
    ]);
    expect({ code, out }).toEqual({ code: 78, out: '' });
    expect(err).toContain('there are 3 mistakes in the world');
    expect(err).toContain('did you mean "upstream"?');
  });

  it('is told how by exit code 64 when it is called wrongly', async () => {
    const calls = [
      ['simulate'],
      ['simulate', '--world', 'none.json'],
      ['simulate', '--world', worldFile(WORLD), '--strategy', 'littoral'],
    ];
    for (const { code, err } of await Promise.all(calls.map((args) => tidegate(args)))) {
      expect(code).toBe(64);
      expect(err).toContain('Help: tidegate help simulate');
    }
  });
});

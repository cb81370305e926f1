import { writeFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { run } from '../../src/cli/replay.js';
import { terminalOf } from '../../src/cli/terminal.js';
import { busyBucket, line, twoWindows } from '../simulate/access-logs.js';
import { TemporaryDirectory } from '../support/temporary-directory.js';
import { tidegate } from './run.js';

const directory = new TemporaryDirectory();
afterAll(() => directory.dispose());

function logFile(name: string, lines: readonly string[]): string {
  const path = directory.at(name);
  writeFileSync(path, `${lines.join('\n')}\n`);
  return path;
}

describe('replay', () => {
  const { lines, refused } = twoWindows();

  it('tells which settings would have avoided which 429s, and leaves bad lines out by number', async () => {
    const log = logFile('access.log', [...lines.slice(0, 3), '{"at": ', ...lines.slice(3)]);
    const { code, out, err } = await tidegate(['replay', log]);
    expect(code).toBe(0);
    expect(err).toContain('access.log:4: is no JSON; left out');
    expect(out).toMatch(/as logged +2 /);
    expect(out).toMatch(/budget 97000 +1 +2 +1 /);
    expect(out).toContain(`${refused[1]}  avoided by: budget learned`);
  });

  it('prints all of it as data, of the settings that were asked for', async () => {
    const log = logFile('data.log', lines);
    const args = [
      'replay',
      log,
      '--json',
      '--scope',
      'a',
      '--try',
      'budget=90_000',
      '--try',
      'kind=sliding',
    ];
    const { code, out } = await tidegate(args);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({
      scope: 'a',
      limit: 100_000,
      badLines: 0,
      logged: {
        upstream429: 2,
        notAvoided: [{ requestId: refused[0] }, { requestId: refused[1] }],
      },
      settings: [
        { name: 'budget=90_000', setting: { budget: 90_000 }, avoided: { length: 2 } },
        { name: 'kind=sliding', setting: { budget: null, kind: 'sliding' } },
      ],
    });
  });

  it('takes a bucket for the upstream’s kind, and to try', async () => {
    const log = logFile('bucket.log', busyBucket());
    const told: string[] = [];
    const stream = { on: () => {}, write: (text: string) => told.push(text) };
    const streams = { stdin: {}, stdout: stream, stderr: stream } as unknown as NodeJS.Process;
    const tries = ['--try', 'budget=11_000', '--try', 'budget=11_000,kind=sliding'];
    const args = [log, '--kind', 'bucket', '--window', '1m', ...tries];
    expect(await run(args, terminalOf({}, '/', streams))).toBe(0);
    const text = told.join('');
    expect(text).toMatch(/limit: 11_9\d\d tokens a window, inferred/);
    expect(text).toMatch(/as logged +169 /);
    expect(text).toMatch(/budget=11_000 +0 +169 /);
    expect(text).toMatch(/budget=11_000,kind=sliding +0 +169 /);
  });

  it('asks for the scope where the log is of several, and for the limit where nothing was refused', async () => {
    const several = logFile('several.log', [line(), line({ scope: 'b' })]);
    expect(await tidegate(['replay', several])).toMatchObject({
      code: 64,
      err: expect.stringContaining('There is: "a", "b"'),
    });
    expect(await tidegate(['replay', several, '--scope', 'b'])).toMatchObject({
      code: 0,
      out: '',
      err: expect.stringContaining('--limit TOKENS'),
    });
  });

  it.each([
    [[], 'Say which log'],
    [['none.log'], "can't be read (ENOENT)"],
    [['none.log', '--try', 'speed=9'], 'is no setting to try'],
    [['none.log', '--window', '5 hours'], '--window'],
    [['none.log', '--limit', '-1'], '--limit'],
  ])('%j is told how by exit code 64', async (args, told) => {
    const { code, err } = await tidegate(['replay', ...args]);
    expect({ code, told: err.includes(told) }, err).toEqual({ code: 64, told: true });
  });
});

import { existsSync, readFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SYSTEM_FILES, type FileSystem } from '../../src/platform/durable-file.js';
import { RotatingLog, type RotatingLogOptions } from '../../src/platform/rotating-log.js';
import { TemporaryDirectory } from '../support/temporary-directory.js';
import { until } from '../support/until.js';

let directory: TemporaryDirectory;
beforeEach(() => (directory = new TemporaryDirectory()));
afterEach(() => directory.dispose());

const PATH = 'logs/a.log';
const text = (name = PATH) => readFileSync(directory.at(name), 'utf8');

function openLog(options: Partial<RotatingLogOptions> = {}) {
  const problems: (string | null)[] = [];
  const log = new RotatingLog({
    path: directory.at(PATH),
    mostBytes: 1_000,
    keep: 2,
    onProblem: (problem) => problems.push(problem),
    ...options,
  });
  return { log, problems };
}

/** Writes a part of what it is given and fails, while `full`. */
function fillingDisk() {
  const disk = { full: false, writes: 0 };
  const files: FileSystem = {
    ...SYSTEM_FILES,
    open: async (...args: Parameters<FileSystem['open']>) => {
      const handle = await SYSTEM_FILES.open(...args);
      const append = handle.appendFile.bind(handle);
      handle.appendFile = async (data) => {
        disk.writes += 1;
        if (!disk.full) return append(data);
        await append((data as Buffer).subarray(0, 5));
        throw Object.assign(new Error('no space'), { code: 'ENOSPC' });
      };
      return handle satisfies FileHandle;
    },
  };
  return { disk, files };
}

describe('a rotating log', () => {
  it('writes lines in batches, in their order, without being asked to', async () => {
    const { log } = openLog();
    for (const line of ['one', 'two', 'drei']) expect(log.write(line)).toBe(true);
    await until(() => existsSync(directory.at(PATH)) && text() !== '');
    expect(text()).toBe('one\ntwo\ndrei\n');
    await log.close();
  });

  it('begins a new file when one is full, and keeps as many as it is told', async () => {
    const { log } = openLog();
    for (let n = 0; n < 60; n += 1) {
      log.write(`line ${n} ${'x'.repeat(92)}`);
      await log.flush();
    }
    await log.close();
    expect(readdirSync(directory.at('logs')).sort()).toEqual(['a.log', 'a.log.1', 'a.log.2']);
    const lines = ['a.log.2', 'a.log.1', 'a.log'].flatMap((name) =>
      text(`logs/${name}`).trimEnd().split('\n'),
    );
    const numbers = lines.map((line) => Number(line.split(' ')[1]));
    expect(numbers.length).toBeGreaterThan(20);
    expect(numbers).toEqual(numbers.map((_, index) => 60 - numbers.length + index));
  });

  it('goes on after what a crash left, on a line of its own', async () => {
    const { log } = openLog({ path: directory.at('torn.log') });
    writeFileSync(directory.at('torn.log'), 'whole\ntor');
    log.write('new');
    await log.close();
    expect(text('torn.log')).toBe('whole\ntor\nnew\n');
  });

  it('notices that the file was renamed, as logrotate does', async () => {
    const { log } = openLog();
    log.write('one');
    await log.flush();
    renameSync(directory.at(PATH), directory.at('logs/moved'));
    log.write('two');
    await log.close();
    expect([text('logs/moved'), text()]).toEqual(['one\n', 'two\n']);
  });

  it('waits out a full disk without blocking, writes each line once, and says so', async () => {
    const { disk, files } = fillingDisk();
    const { log, problems } = openLog({ files });
    log.write('before');
    await log.flush();
    disk.full = true;
    log.write('meanwhile');
    await log.flush();
    expect(log.write('and this')).toBe(true);
    await log.flush();
    expect(problems).toEqual([`${directory.at(PATH)} can't be written (ENOSPC)`]);
    disk.full = false;
    await log.flush();
    expect(problems.at(-1)).toBeNull();
    expect(text()).toBe('before\nmeanwhile\nand this\n');
    expect(log.dropped).toBe(0);
    await log.close();
  });

  it('drops and counts what finds no room, and keeps the oldest', async () => {
    const { disk, files } = fillingDisk();
    const { log } = openLog({ files, mostBytes: 64 * 1024 * 1024 });
    disk.full = true;
    const line = 'x'.repeat(1024 * 1024 - 1);
    const taken = Array.from({ length: 6 }, () => log.write(line));
    expect(taken).toEqual([true, true, true, true, false, false]);
    expect(log.dropped).toBe(2);
    await log.flush();
    expect(log.write(line), 'what could not be written keeps its room').toBe(false);
    disk.full = false;
    await log.close();
    expect(text()).toHaveLength(4 * 1024 * 1024);
  });

  it('writes to what is no regular file as well, and does not rotate it', async () => {
    const { log, problems } = openLog({ path: '/dev/null', mostBytes: 1 });
    for (const line of ['one', 'two']) {
      log.write(line);
      await log.flush();
    }
    await log.close();
    expect(problems).toEqual([]);
  });
});

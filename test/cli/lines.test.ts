import { writeFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { linesOf } from '../../src/cli/lines.js';
import { TemporaryDirectory } from '../support/temporary-directory.js';

let directory: TemporaryDirectory;
beforeEach(() => {
  directory = new TemporaryDirectory();
});
afterEach(() => directory.dispose());

function read(text: string): string[] {
  const path = directory.at('log');
  writeFileSync(path, text);
  return [...linesOf(path)];
}

it('come as they are, whatever the file is cut into, with or without a last line end', () => {
  const lines = Array.from(
    { length: 40_000 },
    (_, line) => `${line} grün ${'x'.repeat(line % 90)}`,
  );
  expect(read(lines.join('\n'))).toEqual(lines);
  expect(read(`${lines.join('\n')}\n`)).toEqual(lines);
  expect(read('')).toEqual([]);
});

it('are cut where they are too long, and go on nowhere behind that', () => {
  const most = 64 * 1_024;
  for (const length of [most, most + 1, 4 * most - 1, 4 * most, 4 * most + 1, 9 * most]) {
    const long = `${'a'.repeat(length)}b`;
    expect(read(`first\n${long}\nlast`)).toEqual(['first', long.slice(0, most), 'last']);
    expect(read(long), `${length} at the end`).toEqual([long.slice(0, most)]);
  }
});

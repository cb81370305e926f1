import { constants } from 'node:fs';
import { afterEach, expect, it, vi } from 'vitest';
import { TemporaryDirectory } from '../support/temporary-directory.js';
import { watchedFiles } from '../support/watched-files.js';

const { platform } = process;

afterEach(() => {
  Object.defineProperty(process, 'platform', { value: platform });
  vi.resetModules();
});

/** Each makes writes durable in its own way, and asks for nothing twice. */
it.each([
  ['linux', true, ['write']],
  ['darwin', false, ['write', 'datasync']],
])('a write is durable when it returns, on %s, too', async (...row) => {
  const [name, writesThrough, expected] = row;
  Object.defineProperty(process, 'platform', { value: name });
  vi.resetModules();
  const { DurableFile } = await import('../../src/platform/durable-file.js');
  const calls: string[] = [];
  let flags = 0;
  const files = watchedFiles({
    before: ({ operation, arguments: given }) => {
      calls.push(operation.replace('handle.', ''));
      if (operation === 'open') flags = Number(given[1]);
    },
  });
  const directory = new TemporaryDirectory();
  const file = await DurableFile.create(files, directory.at('journal'));
  expect((flags & constants.O_DSYNC) === constants.O_DSYNC).toBe(writesThrough);
  calls.length = 0;
  await file.write(Buffer.from('charge'), 0);
  expect(calls).toEqual(expected);
  await file.close();
  directory.dispose();
});

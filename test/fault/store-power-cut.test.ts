import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { SteadyClock } from '../../src/platform/clock.js';
import { openRepository } from '../../src/open-repository.js';
import { Child, typescript } from '../support/child.js';
import { LoopDisk } from '../support/power-cut.js';
import { TemporaryDirectory } from '../support/temporary-directory.js';

/**
 * Goal: what was answered is there after a power cut, on a real file system and with real processes.
 * Control: the same, with every flush made to do nothing (strace) and no write going through, must lose
 * answered updates.
 */
const directory = new TemporaryDirectory();
const disk = LoopDisk.make(directory.path);
const STRACE = spawnSync('strace', ['-V']).status === 0;
const WITHOUT_FLUSHES = [
  'strace',
  '-f',
  '-o',
  '/dev/null',
  '-e',
  'inject=fsync,fdatasync:retval=0',
];

if (typeof disk === 'string') console.log(`skipped: power cuts on a real disk (${disk})`);
else if (!STRACE) console.log('skipped: the control of power cuts, for want of strace');

afterAll(() => {
  if (typeof disk !== 'string') disk.detach();
  directory.dispose();
});

/** What was answered before the cut, and what is found after it. */
async function cutWhileWriting(
  disk: LoopDisk,
  kind: 'file' | 'sqlite',
  name: string,
  careless: boolean,
): Promise<{ answered: number; found: number; lost: unknown }> {
  const path = join(disk.mount, name, kind === 'sqlite' ? 'state.db' : 'state.json');
  const wrapper = careless ? WITHOUT_FLUSHES : [];
  const mode = careless ? 'write-carelessly' : 'write';
  const child = new Child([...wrapper, ...typescript('store-child.ts'), mode, path, 'writer']);
  await child.saysLines(300);
  disk.cut();
  const answers = child.lines.filter((line) => line.startsWith('answered '));
  await child.kill();
  disk.restore();
  const repository = await openRepository(
    { kind, path },
    {
      instance: 'reader',
      clock: new SteadyClock(),
      loss: { onCorrupt: 'cautious', onEmpty: 'trust' },
    },
  );
  const { state } = await repository.read('a');
  await repository.close();
  const answered = Math.max(...answers.map((line) => Number(line.split(' ')[1])));
  return { answered, found: state.hot.sequence, lost: state.hot.lost };
}

describe.runIf(typeof disk !== 'string').each(['file', 'sqlite'] as const)('%s', (kind) => {
  it('keeps what was answered before a power cut', async () => {
    const { answered, found, lost } = await cutWhileWriting(disk as LoopDisk, kind, kind, false);
    expect(found).toBeGreaterThanOrEqual(answered);
    expect(lost).toBeNull();
  });

  it.runIf(STRACE)('control: without flushes it would not', async () => {
    const name = `${kind}-careless`;
    const { answered, found } = await cutWhileWriting(disk as LoopDisk, kind, name, true);
    expect(found).toBeLessThan(answered);
  });
});

import { mkdtempSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const IN_MEMORY = '/dev/shm';
const ENOUGH_BYTES = 256 * 1024 * 1024;

/**
 * A directory of a test's own. Remove it with `dispose`. `memory`: where nothing is to be learned from a real disk, as
 * what it keeps is emulated; thousands of flushes are minutes on a busy one.
 */
export class TemporaryDirectory {
  readonly path: string;

  constructor(on: 'disk' | 'memory' = 'disk') {
    const parent = on === 'memory' && hasMemory() ? IN_MEMORY : tmpdir();
    this.path = mkdtempSync(join(parent, 'tidegate-test-'));
  }

  at(...names: string[]): string {
    return join(this.path, ...names);
  }

  dispose(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** A container may have little of it, other systems have none. */
function hasMemory(): boolean {
  try {
    const { bavail, bsize } = statfsSync(IN_MEMORY);
    return bavail * bsize > ENOUGH_BYTES;
  } catch {
    return false;
  }
}

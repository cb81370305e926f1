import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A directory of a test's own. Remove it with `dispose`. */
export class TemporaryDirectory {
  readonly path = mkdtempSync(join(tmpdir(), 'tidegate-test-'));

  at(...names: string[]): string {
    return join(this.path, ...names);
  }

  dispose(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

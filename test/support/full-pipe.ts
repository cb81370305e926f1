import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync, writeSync } from 'node:fs';

/** A pipe that nobody reads, and that takes no byte more: who writes to it waits. */
export class FullPipe {
  readonly #file: number;

  constructor(readonly path: string) {
    execFileSync('mkfifo', [path]);
    this.#file = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
    for (const bytes of [65_536, 4_096, 1]) {
      try {
        for (;;) writeSync(this.#file, Buffer.alloc(bytes));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      }
    }
  }

  close(): void {
    closeSync(this.#file);
  }
}

import { copyFileSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SteadyClock, SYSTEM_TIME } from '../../src/platform/clock.js';
import type { FileSystem } from '../../src/platform/durable-file.js';
import { errorCode } from '../../src/platform/tidegate-error.js';
import { SYSTEM_TIMERS, type Timers } from '../../src/platform/timers.js';
import type { SetAside } from '../../src/state/set-aside.js';
import type { SoleStoreOptions } from '../../src/state/sole-repository.js';
import type { LossPolicy, StateRepository } from '../../src/state/state-repository.js';
import type { ManualTime } from './manual-time.js';
import { TemporaryDirectory } from './temporary-directory.js';

export interface OpenOptions {
  readonly instance?: string;
  readonly loss?: Partial<LossPolicy>;
  readonly files?: FileSystem;
  readonly clock?: SteadyClock;
  readonly onSetAside?: (file: SetAside) => void;
}

/** What every adapter with files takes. */
export type AdapterOptions = SoleStoreOptions & { readonly timers: Timers };

/** A store of a test's own, in a directory that need not exist yet. */
export abstract class StoreOnDisk {
  readonly #root: TemporaryDirectory;
  readonly #opened: StateRepository[] = [];
  readonly directory: string;
  abstract readonly path: string;

  /** @param time Without one it is the machine's, and so is the disk. */
  constructor(readonly time: ManualTime | null = null) {
    this.#root = new TemporaryDirectory(time === null ? 'disk' : 'memory');
    this.directory = this.#root.at('data');
  }

  protected abstract adapter(options: AdapterOptions): Promise<StateRepository>;
  /** Another store of the kind, with nothing in it. */
  protected abstract another(): this;
  /** A file that another process could do without, or that must not be touched while it is open. */
  protected abstract isLeftOut(name: string): boolean;

  async open(options: OpenOptions = {}): Promise<StateRepository> {
    const repository = await this.adapter({
      path: this.path,
      instance: options.instance ?? 'test',
      loss: { onCorrupt: 'cautious', onEmpty: 'trust', ...options.loss },
      clock: options.clock ?? new SteadyClock(this.time ?? SYSTEM_TIME),
      timers: this.time ?? SYSTEM_TIMERS,
      ...(options.files && { files: options.files }),
      ...(options.onSetAside && { onSetAside: options.onSetAside }),
    });
    this.#opened.push(repository);
    return repository;
  }

  names(): string[] {
    return readdirSync(this.directory).sort();
  }

  /**
   * Another store with the files as they are at this moment: what a power cut would leave, at best.
   */
  copy(): this {
    const copy = this.another();
    mkdirSync(copy.directory);
    for (const name of this.names()) {
      // Closing any descriptor of the lock file would drop this process's lock on it.
      if (name.endsWith('.lock')) writeFileSync(join(copy.directory, name), '');
      else if (!this.isLeftOut(name)) {
        copyIfThere(join(this.directory, name), join(copy.directory, name));
      }
    }
    return copy;
  }

  async dispose(): Promise<void> {
    for (const repository of this.#opened) await repository.close();
    this.#root.dispose();
  }
}

/** A temporary file may go while the copy is made, as it may before a crash. */
function copyIfThere(from: string, to: string): void {
  try {
    copyFileSync(from, to);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
  }
}

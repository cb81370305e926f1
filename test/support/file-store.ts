import { copyFileSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SteadyClock, SYSTEM_TIME } from '../../src/platform/clock.js';
import type { FileSystem } from '../../src/platform/durable-file.js';
import { SYSTEM_TIMERS } from '../../src/platform/timers.js';
import { openFileStateRepository } from '../../src/state/file/file-repository.js';
import type { LossPolicy, StateRepository } from '../../src/state/state-repository.js';
import type { ManualTime } from './manual-time.js';
import { TemporaryDirectory } from './temporary-directory.js';

export interface OpenOptions {
  readonly instance?: string;
  readonly loss?: Partial<LossPolicy>;
  readonly files?: FileSystem;
}

/** A file store of a test's own, in a directory that need not exist yet. */
export class FileStore {
  readonly #root = new TemporaryDirectory();
  readonly #opened: StateRepository[] = [];
  readonly directory = this.#root.at('data');
  readonly path = join(this.directory, 'state.json');

  /** @param time Without one, the machine's. */
  constructor(readonly time: ManualTime | null = null) {}

  async open(options: OpenOptions = {}): Promise<StateRepository> {
    const repository = await openFileStateRepository({
      path: this.path,
      instance: options.instance ?? 'test',
      loss: { onCorrupt: 'cautious', onEmpty: 'trust', ...options.loss },
      clock: new SteadyClock(this.time ?? SYSTEM_TIME),
      timers: this.time ?? SYSTEM_TIMERS,
      ...(options.files && { files: options.files }),
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
  copy(): FileStore {
    const copy = new FileStore(this.time);
    mkdirSync(copy.directory);
    for (const name of this.names()) {
      // Closing any descriptor of the lock file would drop this process's lock on it.
      if (name.endsWith('.lock')) writeFileSync(join(copy.directory, name), '');
      else copyFileSync(join(this.directory, name), join(copy.directory, name));
    }
    return copy;
  }

  async dispose(): Promise<void> {
    for (const repository of this.#opened) await repository.close();
    this.#root.dispose();
  }
}

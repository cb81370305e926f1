import { basename, dirname } from 'node:path';
import { rfc3339 } from '../platform/clock.js';
import { type FileSystem, makeDirectory } from '../platform/durable-file.js';
import { ExclusiveLock, lockPaths } from '../platform/exclusive-lock.js';
import type { SoleStoreOptions } from './sole-repository.js';

/** The lock of a store with files, taken again where somebody removed it; the directory is made if need be. */
export class StoreLock {
  #lock: ExclusiveLock | null = null;
  #wasThere: boolean | null = null;
  #lost = false;

  constructor(
    private readonly files: FileSystem,
    private readonly store: Pick<SoleStoreOptions, 'path' | 'instance' | 'clock'>,
  ) {}

  get taken(): boolean {
    return this.#lock !== null;
  }

  /** An earlier run left its lock, which tells of a store even if nothing else does. */
  get wasThere(): boolean {
    return this.#wasThere ?? false;
  }

  /**
   * @returns whether it was lost since the last time: somebody else may have held it.
   * @throws TidegateError STATE_LOCKED, STATE_UNAVAILABLE.
   */
  async take(): Promise<boolean> {
    if (this.#lock !== null && !(await this.#lock.held())) {
      this.#lost = true;
      await this.#lock.release();
      this.#lock = null;
    }
    if (this.#lock === null) await this.#acquire();
    const lost = this.#lost;
    this.#lost = false;
    return lost;
  }

  async #acquire(): Promise<void> {
    const { path, instance, clock } = this.store;
    const { lock, owner } = lockPaths(path);
    await makeDirectory(this.files, dirname(path));
    const names = await this.files.readdir(dirname(path));
    this.#wasThere ??= names.includes(basename(lock)) || names.includes(basename(owner));
    const since = rfc3339(clock.now());
    this.#lock = await ExclusiveLock.acquire(this.files, path, instance, since);
  }

  /** False once its file was removed or replaced. */
  async held(): Promise<boolean> {
    return this.#lock !== null && (await this.#lock.held());
  }

  async release(): Promise<void> {
    await this.#lock?.release();
  }
}

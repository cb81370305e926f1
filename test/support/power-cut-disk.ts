import { constants, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { FileSystem } from '../../src/platform/durable-file.js';
import { type FileCall, watchedFiles } from './watched-files.js';
import { FileStore } from './file-store.js';

/** `skip`: it is left out; `unflushed`: it is done, and not flushed. As a careless adapter would. */
export type Carelessness = 'skip' | 'unflushed';

/**
 * Remembers what has been flushed, and gives nothing else back after a power cut: of a file what it
 * held at its last fsync or write through O_DSYNC, of a directory the names it had at its last fsync.
 * A real disk may keep more, so this is the worst that can happen.
 */
export class PowerCutDisk {
  readonly files: FileSystem;
  readonly #store: FileStore;
  readonly #contents = new Map<number, Buffer>();
  #names = new Map<string, number>();
  /** Files opened with O_DSYNC. */
  readonly #writtenThrough = new Set<string>();

  /** @param before Called before each call, which waits for it. */
  constructor(
    store: FileStore,
    before: (call: FileCall) => Carelessness | void | Promise<Carelessness | void>,
  ) {
    this.#store = store;
    if (existsSync(store.directory)) this.#flushAll();
    const unflushed = new WeakSet<FileCall>();
    this.files = watchedFiles({
      before: async (call) => {
        const careless = await before(call);
        if (careless === 'unflushed') unflushed.add(call);
        return careless === 'skip' ? careless : undefined;
      },
      after: (call) => this.#saw(call, !unflushed.has(call)),
    });
  }

  /** The store as a power cut would leave it now. */
  cut(): FileStore {
    const copy = new FileStore(this.#store.time);
    mkdirSync(copy.directory);
    for (const [name, inode] of this.#names) {
      writeFileSync(join(copy.directory, name), this.#contents.get(inode) ?? '');
    }
    return copy;
  }

  #flushAll(): void {
    for (const name of this.#store.names()) {
      const path = join(this.#store.directory, name);
      // Closing any descriptor of the lock file would drop this process's lock on it.
      const content = name.endsWith('.lock') ? Buffer.alloc(0) : readFileSync(path);
      this.#contents.set(statSync(path).ino, content);
    }
    this.#names = this.#namesNow();
  }

  #namesNow(): Map<string, number> {
    const { directory } = this.#store;
    return new Map(this.#store.names().map((name) => [name, statSync(join(directory, name)).ino]));
  }

  #saw({ operation, path, arguments: [, flags] }: FileCall, flushed: boolean): void {
    if (operation === 'open' && flags !== 'r') {
      this.#contents.delete(statSync(path).ino);
      if (Number(flags) & constants.O_DSYNC) this.#writtenThrough.add(path);
    }
    const through = operation === 'handle.write' && this.#writtenThrough.has(path);
    const flush = operation === 'handle.sync' || operation === 'handle.datasync' || through;
    if (!flush || !flushed) return;
    const status = statSync(path);
    if (status.isFile()) this.#contents.set(status.ino, readFileSync(path));
    if (path === this.#store.directory) this.#names = this.#namesNow();
  }
}

import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { FileSystem } from '../../src/platform/durable-file.js';
import { type FileCall, watchedFiles } from './watched-files.js';
import { FileStore } from './file-store.js';

/**
 * Remembers what has been flushed, and gives nothing else back after a power cut: of a file what it
 * held at its last fsync, of a directory the names it had at its last fsync. A real disk may keep
 * more, so this is the worst that can happen.
 */
export class PowerCutDisk {
  readonly files: FileSystem;
  readonly #store: FileStore;
  readonly #contents = new Map<number, Buffer>();
  #names = new Map<string, number>();

  /** @param before Called before each call; `skip` leaves it out, as a careless adapter would. */
  constructor(store: FileStore, before: (call: FileCall) => void | 'skip') {
    this.#store = store;
    if (existsSync(store.directory)) this.#flushAll();
    this.files = watchedFiles({ before, after: (call) => this.#saw(call) });
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

  #saw({ operation, path, arguments: [, flags] }: FileCall): void {
    if (operation === 'open' && flags !== 'r') this.#contents.delete(statSync(path).ino);
    if (operation !== 'handle.sync' && operation !== 'handle.datasync') return;
    const status = statSync(path);
    if (status.isFile()) this.#contents.set(status.ino, readFileSync(path));
    if (path === this.#store.directory) this.#names = this.#namesNow();
  }
}

import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type FileSystem, makeDirectory, PRIVATE_FILE, SYSTEM_FILES } from './durable-file.js';
import { errorCode } from './tidegate-error.js';
import { type Cancel, SYSTEM_TIMERS, type Timers } from './timers.js';

/** Lines that wait to be written; beyond this they are dropped, for a log must not become a leak. */
const MOST_WAITING_BYTES = 4 * 1024 * 1024;
/** How long lines wait for company. */
const FLUSH_MS = 250;
/** Pause before a write that failed is tried again. */
const RETRY_MS = 1_000;
const NEWLINE = 0x0a;

export interface RotatingLogOptions {
  /** Absolute; its directory is made if need be. */
  readonly path: string;
  /** A file of this size gives way to the next; it may be exceeded by one batch. */
  readonly mostBytes: number;
  /** Older files kept, `<path>.1` the newest of them. */
  readonly keep: number;
  /** Told when writing begins to fail, and (null) when it works again. Must not throw. */
  readonly onProblem: (problem: string | null) => void;
  readonly timers?: Timers;
  readonly files?: FileSystem;
}

interface OpenLog {
  readonly handle: FileHandle;
  readonly inode: string;
  /** A regular file, which can be rotated: no pipe and no device. */
  readonly plain: boolean;
}

/**
 * A file of lines that others add to without waiting: lines are written in batches, the file is
 * rotated by size, and what can't be written waits within a bound and is then dropped and counted. Not
 * durable by itself: a crash loses the last quarter of a second. A program that renames the file
 * meanwhile (logrotate) is noticed, and the next batch begins a new one.
 */
export class RotatingLog {
  readonly #options: RotatingLogOptions;
  readonly #files: FileSystem;
  readonly #timers: Timers;
  #waiting: string[] = [];
  #waitingBytes = 0;
  #dropped = 0;
  #file: OpenLog | null = null;
  #size = 0;
  #cancel: Cancel | null = null;
  #writing: Promise<void> | null = null;
  #problem: string | null = null;
  #closed = false;

  constructor(options: RotatingLogOptions) {
    this.#options = options;
    this.#files = options.files ?? SYSTEM_FILES;
    this.#timers = options.timers ?? SYSTEM_TIMERS;
  }

  /** Lines that found no room, since the process started. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Why nothing can be written at the moment; null if it can. */
  get problem(): string | null {
    return this.#problem;
  }

  /** Takes a line, without its newline. Never blocks; false: there was no room, it is lost. */
  write(line: string): boolean {
    const bytes = Buffer.byteLength(line) + 1;
    if (this.#closed || this.#waitingBytes + bytes > MOST_WAITING_BYTES) {
      this.#dropped += 1;
      return false;
    }
    this.#waiting.push(line);
    this.#waitingBytes += bytes;
    this.#arm();
    return true;
  }

  /** Resolves when what was taken so far is written, or could not be. */
  async flush(): Promise<void> {
    while (this.#writing !== null) await this.#writing;
    if (this.#waiting.length > 0) await this.#drain();
  }

  /** Resolves when all is written that can be; on a disk that does not answer, never. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#cancel?.();
    await this.flush();
    await this.#file?.handle.close().catch(() => undefined);
    this.#file = null;
  }

  #arm(): void {
    if (this.#writing !== null || this.#cancel !== null || this.#closed) return;
    const delayMs = this.#problem === null ? FLUSH_MS : RETRY_MS;
    this.#cancel = this.#timers.after(delayMs, () => void this.#drain());
  }

  /** One batch at a time, so that lines keep their order. */
  #drain(): Promise<void> {
    this.#cancel?.();
    this.#cancel = null;
    this.#writing ??= this.#writeBatch().finally(() => {
      this.#writing = null;
      if (this.#waiting.length > 0) this.#arm();
    });
    return this.#writing;
  }

  async #writeBatch(): Promise<void> {
    const lines = this.#waiting;
    const bytes = this.#waitingBytes;
    this.#waiting = [];
    try {
      await this.#append(Buffer.from(`${lines.join('\n')}\n`));
      this.#waitingBytes -= bytes;
      this.#tell(null);
    } catch (error) {
      // They keep their room meanwhile, so that the bound holds.
      this.#waiting = [...lines, ...this.#waiting];
      await this.#file?.handle.close().catch(() => undefined);
      this.#file = null;
      this.#tell(`${this.#options.path} can't be written (${errorCode(error)})`);
    }
  }

  async #append(batch: Buffer): Promise<void> {
    const file = await this.#open();
    try {
      await file.handle.appendFile(batch);
    } catch (error) {
      // Half a batch would be written twice.
      if (file.plain) await file.handle.truncate(this.#size).catch(() => undefined);
      throw error;
    }
    this.#size += batch.length;
  }

  /** The file to write to: the one under the path, and not a full one. */
  async #open(): Promise<OpenLog> {
    const { path, mostBytes } = this.#options;
    if (this.#file !== null) {
      const full = this.#file.plain && this.#size >= mostBytes;
      if (!full && (await this.#inodeNow()) === this.#file.inode) return this.#file;
      await this.#file.handle.close();
      this.#file = null;
      if (full) await this.#rotate();
    }
    await makeDirectory(this.#files, dirname(path));
    const handle = await this.#files.open(path, 'a+', PRIVATE_FILE);
    try {
      const stats = await handle.stat();
      this.#file = { handle, inode: `${stats.dev}:${stats.ino}`, plain: stats.isFile() };
      this.#size = this.#file.plain ? stats.size : 0;
      if (this.#file.plain && (await endsTorn(handle, this.#size))) {
        await handle.appendFile('\n');
        this.#size += 1;
      }
      return this.#file;
    } catch (error) {
      this.#file = null;
      await handle.close().catch(() => undefined);
      throw error;
    }
  }

  async #inodeNow(): Promise<string> {
    try {
      const { dev, ino } = await this.#files.stat(this.#options.path);
      return `${dev}:${ino}`;
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return 'none';
      throw error;
    }
  }

  async #rotate(): Promise<void> {
    const { path, keep } = this.#options;
    const names = logNames(path, keep);
    for (let index = names.length - 1; index > 0; index -= 1) {
      await this.#files
        .rename(names[index - 1] as string, names[index] as string)
        .catch((error: unknown) => {
          if (errorCode(error) !== 'ENOENT') throw error;
        });
    }
    if (keep === 0) await this.#files.rm(path, { force: true });
  }

  #tell(problem: string | null): void {
    if (problem === this.#problem) return;
    this.#problem = problem;
    this.#options.onProblem(problem);
  }
}

/** The files of a log, the newest first. */
export function logNames(path: string, keep: number): readonly string[] {
  return [path, ...Array.from({ length: keep }, (_, index) => `${path}.${index + 1}`)];
}

/** A crash or a full disk may have left a line without its end. */
async function endsTorn(handle: FileHandle, size: number): Promise<boolean> {
  if (size === 0) return false;
  const { bytesRead, buffer } = await handle.read(Buffer.alloc(1), 0, 1, size - 1);
  return bytesRead === 1 && buffer[0] !== NEWLINE;
}

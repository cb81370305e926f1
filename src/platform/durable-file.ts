import { constants } from 'node:fs';
import * as promises from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errorCode, TidegateError } from './tidegate-error.js';

/** The part of `node:fs/promises` that durable files are made with; tests pass one that fails. */
export type FileSystem = Pick<
  typeof promises,
  | 'chmod'
  | 'copyFile'
  | 'link'
  | 'mkdir'
  | 'open'
  | 'readFile'
  | 'readdir'
  | 'rename'
  | 'rm'
  | 'stat'
>;

export const SYSTEM_FILES: FileSystem = promises;

/** Readable and writable by the user Tidegate runs as, and by nobody else. */
export const PRIVATE_FILE = 0o600;
export const PRIVATE_DIRECTORY = 0o700;

/** What `link` says where the file system has no hard links. */
const NO_LINKS = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK', 'EXDEV']);

/**
 * Puts a new version of a whole file in place, so that after a crash at any point the path holds
 * the old version or the new one, whole. Resolves when the new one survives a power cut.
 *
 * With `previous`, the old version is kept under that path; `path` itself is never missing
 * meanwhile. Writes through `<path>.tmp`: one writer at a time.
 *
 * @throws TidegateError STATE_UNKNOWN if the new version is in place, but may not survive a power
 *   cut; any other error means that the old version is still there and will be.
 */
export async function replaceFile(
  files: FileSystem,
  path: string,
  content: string,
  previous?: string,
): Promise<void> {
  const temporary = `${path}.tmp`;
  try {
    await writeNew(files, temporary, content);
    if (previous !== undefined) await keepPrevious(files, path, previous);
    await files.rename(temporary, path);
  } catch (error) {
    // Best effort: the next version overwrites it.
    await files.rm(temporary, { force: true }).catch(() => undefined);
    throw error;
  }
  try {
    // A rename is durable only once the directory is: without this a power cut brings the previous
    // version back, and with it a window that looks less used than it is.
    await syncDirectory(files, dirname(path));
  } catch (error) {
    throw unknownOutcome(dirname(path), error);
  }
}

async function writeNew(files: FileSystem, path: string, content: string): Promise<void> {
  const handle = await files.open(path, 'w', PRIVATE_FILE);
  try {
    await handle.writeFile(content);
    // Before the rename: a file system may otherwise order them so that a power cut leaves an empty
    // file.
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function keepPrevious(files: FileSystem, path: string, previous: string): Promise<void> {
  await files.rm(previous, { force: true });
  try {
    await files.link(path, previous).catch((error: unknown) => {
      if (!NO_LINKS.has(errorCode(error))) throw error;
      return files.copyFile(path, previous);
    });
  } catch (error) {
    // There is none to keep.
    if (errorCode(error) !== 'ENOENT') throw error;
  }
}

/** Makes a directory, and those above it, where they are missing; they survive a power cut. */
export async function makeDirectory(files: FileSystem, path: string): Promise<void> {
  const first = await files.mkdir(path, { recursive: true, mode: PRIVATE_DIRECTORY });
  if (first === undefined) return;
  for (let made = path; made.length >= first.length; made = dirname(made)) {
    await syncDirectory(files, dirname(made));
  }
}

/**
 * Puts a file that somebody else has written, and closed, in its place. Resolves when it survives a
 * power cut there; whatever fails, the path holds the old one or the new one, whole.
 */
export async function moveInPlace(files: FileSystem, written: string, path: string): Promise<void> {
  await sync(files, written);
  await files.rename(written, path);
  await syncDirectory(files, dirname(path));
}

/** Makes creations, renames and removals in a directory survive a power cut. */
export async function syncDirectory(files: FileSystem, path: string): Promise<void> {
  await sync(files, path);
}

async function sync(files: FileSystem, path: string): Promise<void> {
  const handle = await files.open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Linux makes a write through such a handle as durable as `fdatasync` would. Elsewhere the flag may
 * stop short of the drive's own cache, which `fdatasync` of Node does not.
 */
const WRITES_THROUGH = process.platform === 'linux';

/** What a write says that was refused before a byte of it was taken, or for want of room for it. */
const NOT_WRITTEN = new Set(['ENOSPC', 'EDQUOT', 'EFBIG', 'EROFS']);

/** A file whose writes are durable when they return. */
export class DurableFile {
  readonly path: string;
  readonly #files: FileSystem;
  readonly #handle: FileHandle;
  readonly #identity: string;

  private constructor(files: FileSystem, path: string, handle: FileHandle, identity: string) {
    this.#files = files;
    this.path = path;
    this.#handle = handle;
    this.#identity = identity;
  }

  /** A new one. The caller syncs the directory. */
  static async create(files: FileSystem, path: string): Promise<DurableFile> {
    const { O_RDWR, O_CREAT, O_EXCL, O_DSYNC } = constants;
    const flags = O_RDWR | O_CREAT | O_EXCL | (WRITES_THROUGH ? O_DSYNC : 0);
    const handle = await files.open(path, flags, PRIVATE_FILE);
    try {
      return new DurableFile(files, path, handle, identityOf(await handle.stat()));
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /**
   * False once the path leads to another file or to none, or somebody has cut this one short: a write
   * would still be durable, and nobody would find it.
   */
  async isInPlace(leastBytes: number): Promise<boolean> {
    try {
      const status = await this.#files.stat(this.path);
      return identityOf(status) === this.#identity && status.size >= leastBytes;
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return false;
      throw error;
    }
  }

  /**
   * Writes bytes at a position and resolves when they survive a power cut.
   *
   * @throws TidegateError STATE_UNKNOWN if they may have been written, and may not survive one.
   *   Don't write to the same file again: the kernel reports a failed write-back once and then calls
   *   the pages clean. Any other error means that they were not written, not all of them.
   */
  async write(bytes: Uint8Array, position: number): Promise<void> {
    try {
      for (let written = 0; written < bytes.length;) {
        const rest = bytes.length - written;
        const { bytesWritten } = await this.#handle.write(bytes, written, rest, position + written);
        if (bytesWritten === 0) throw new Error('nothing was written');
        written += bytesWritten;
      }
      if (!WRITES_THROUGH) await this.#handle.datasync();
    } catch (error) {
      throw NOT_WRITTEN.has(errorCode(error)) ? error : unknownOutcome(this.path, error);
    }
  }

  async truncate(bytes: number): Promise<void> {
    await this.#handle.truncate(bytes);
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

function identityOf({ dev, ino }: { readonly dev: number; readonly ino: number }): string {
  return `${dev}:${ino}`;
}

function unknownOutcome(path: string, cause: unknown): TidegateError {
  const message = `${path} could not be flushed (${errorCode(cause)}); what it holds is not known`;
  return new TidegateError('STATE_UNKNOWN', message, { hint: 'check the disk', cause });
}

/** The last `mostBytes` of a file as text; null if there is none. */
export async function readTail(
  files: FileSystem,
  path: string,
  mostBytes: number,
): Promise<string | null> {
  let handle: FileHandle;
  try {
    handle = await files.open(path, 'r');
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return null;
    throw error;
  }
  try {
    const { size } = await handle.stat();
    const length = Math.min(size, mostBytes);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, size - length);
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await handle.close();
  }
}

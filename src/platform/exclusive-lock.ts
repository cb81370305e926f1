import { hostname } from 'node:os';
import type { DatabaseSync } from 'node:sqlite';
import { type FileSystem, PRIVATE_FILE, replaceFile } from './durable-file.js';
import { errorCode, reasonOf, TidegateError } from './tidegate-error.js';

/** Who holds a lock, for the operator who is refused. */
export interface LockOwner {
  readonly instance: string;
  readonly pid: number;
  readonly host: string;
  /** RFC 3339. */
  readonly since: string;
}

/**
 * One process at a time may use `target`. Two files beside it:
 *
 * - `<target>.lock`, always empty and never removed, carries the kernel's lock. SQLite takes it,
 *   because Node has no flock: an exclusive transaction that never ends. The kernel drops it with
 *   the process, however that dies, so pids need not be compared: they are reused, and in
 *   containers every one of them is 1. Removing the file on release would let two processes lock
 *   two files of one name.
 * - `<target>.owner` says in words who holds it. It proves nothing, and is removed on release.
 *
 * POSIX drops a process's locks on a file as soon as the process closes any descriptor of it, so
 * nothing here or elsewhere may open `<target>.lock` but SQLite.
 */
export class ExclusiveLock {
  readonly #files: FileSystem;
  readonly #paths: LockPaths;
  readonly #connection: DatabaseSync;
  readonly #inode: number;

  private constructor(
    files: FileSystem,
    paths: LockPaths,
    connection: DatabaseSync,
    inode: number,
  ) {
    this.#files = files;
    this.#paths = paths;
    this.#connection = connection;
    this.#inode = inode;
  }

  /**
   * @param since RFC 3339, for the operator.
   * @throws TidegateError STATE_LOCKED naming the owner; STATE_UNAVAILABLE where no lock can be
   *   made.
   */
  static async acquire(
    files: FileSystem,
    target: string,
    instance: string,
    since: string,
  ): Promise<ExclusiveLock> {
    const paths = lockPaths(target);
    const connection = await lockFile(paths.lock);
    if (connection === null) throw lockedError(target, await readOwner(files, paths.owner));
    try {
      await files.chmod(paths.lock, PRIVATE_FILE);
      const { ino } = await files.stat(paths.lock);
      const owner: LockOwner = { instance, pid: process.pid, host: hostname(), since };
      await replaceFile(files, paths.owner, `${JSON.stringify(owner)}\n`).catch(() =>
        // A full disk must not keep the lock from being held; but no name is better than a wrong
        // one.
        files.rm(paths.owner, { force: true }).catch(() => undefined),
      );
      return new ExclusiveLock(files, paths, connection, ino);
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  /** False once the file was removed or replaced: then another process may hold a new one. */
  async held(): Promise<boolean> {
    try {
      return (await this.#files.stat(this.#paths.lock)).ino === this.#inode;
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return false;
      throw error;
    }
  }

  async release(): Promise<void> {
    // While the lock is held, so that it can't be the next owner's.
    if (await this.held().catch(() => false)) {
      await this.#files.rm(this.#paths.owner, { force: true }).catch(() => undefined);
    }
    this.#connection.close();
  }
}

export interface LockPaths {
  readonly lock: string;
  readonly owner: string;
}

export function lockPaths(target: string): LockPaths {
  return { lock: `${target}.lock`, owner: `${target}.owner` };
}

const SQLITE_BUSY = 5;

/** Null: another process, or another lock of this one, holds it. */
async function lockFile(path: string): Promise<DatabaseSync | null> {
  // Loaded here, because Node 22 prints a warning when it is, and SQLite stores lock otherwise.
  const { DatabaseSync } = await import('node:sqlite');
  let connection: DatabaseSync | undefined;
  try {
    connection = new DatabaseSync(path);
    // On a read-only disk SQLite quietly begins a read transaction instead, under a shared lock.
    // The table makes that fail; it is never committed, and the file stays empty.
    connection.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE; CREATE TABLE held (held)');
    return connection;
  } catch (error) {
    connection?.close();
    if (error instanceof Error && 'errcode' in error && error.errcode === SQLITE_BUSY) return null;
    const reason = reasonOf(error);
    throw new TidegateError('STATE_UNAVAILABLE', `${path} can't be locked (${reason})`, {
      hint: 'make its directory writable for the user Tidegate runs as, on a disk that is not full',
      cause: error,
    });
  }
}

async function readOwner(files: FileSystem, path: string): Promise<LockOwner | null> {
  try {
    return JSON.parse(await files.readFile(path, 'utf8')) as LockOwner;
  } catch {
    // It only names; the lock itself was refused by the kernel.
    return null;
  }
}

function lockedError(target: string, owner: LockOwner | null): TidegateError {
  const name =
    owner === null
      ? 'another process, which has not said its name'
      : `instance "${owner.instance}" (pid ${owner.pid} on ${owner.host}, since ${owner.since})`;
  return new TidegateError('STATE_LOCKED', `${target} is in use by ${name}`, {
    hint: 'stop that instance, or give this one a store of its own with TIDEGATE_STATE',
  });
}

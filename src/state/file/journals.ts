import { dirname } from 'node:path';
import { type FileSystem, syncDirectory } from '../../platform/durable-file.js';
import { type FirstRecord, Journal, type JournalRecord } from './journal.js';

/** From here on state.json is to be written whatever the time, so that the journals can take turns. */
const FULL_BYTES = 8 * 1024 * 1024;
/** From here on a commit waits for state.json: bounds the files, and what a start has to read. */
const MOST_BYTES = 64 * 1024 * 1024;

/**
 * The commits that state.json does not have yet, in two files that take turns, so that state.json can
 * be written while commits go on:
 *
 *   state.json ……… R | resting: … R, R+1 … S | active: S+1 …
 *
 * With the beginning of a write of state.json at revision S the other file becomes the active one.
 * When that write is durable, nothing in the resting one is needed any more, and the next turn may
 * overwrite it. If it fails, both files are needed, and nothing turns until another one is durable.
 * So whenever a crash comes, state.json and the contiguous revisions after it in both files are all.
 */
export class Journals {
  /** The revision they begin with. */
  readonly since: number;
  #active: Journal;
  #resting: Journal;
  /** A durable state.json has all that the resting one has. */
  #spent = true;

  private constructor(since: number, active: Journal, resting: Journal) {
    this.since = since;
    this.#active = active;
    this.#resting = resting;
  }

  /** New, empty ones, and durably so; a durable state.json has what any before them had. */
  static async create(
    files: FileSystem,
    [path, otherPath]: readonly [string, string],
    first: FirstRecord,
  ): Promise<Journals> {
    const active = await Journal.create(files, path, first);
    try {
      const resting = await Journal.create(files, otherPath, first);
      await syncDirectory(files, dirname(path));
      return new Journals(first.revision, active, resting);
    } catch (error) {
      await active.close().catch(() => undefined);
      throw error;
    }
  }

  get full(): boolean {
    return this.#active.length >= FULL_BYTES;
  }

  get overfull(): boolean {
    return this.#active.length >= MOST_BYTES;
  }

  /** False once somebody has removed, replaced or cut one of them short. */
  async areInPlace(): Promise<boolean> {
    const looks = [this.#active.isInPlace(), this.#resting.isInPlace()];
    return (await Promise.all(looks)).every((inPlace) => inPlace);
  }

  /** Errors as of `Journal.append`; after one, don't append. */
  append(record: JournalRecord): Promise<void> {
    return this.#active.append(record);
  }

  /** To be called with nothing being appended, before state.json is written as it is now. */
  async turn(): Promise<void> {
    if (!this.#spent) return;
    await this.#resting.startOver();
    [this.#active, this.#resting] = [this.#resting, this.#active];
    this.#spent = false;
  }

  /** The state.json that was begun after the last turn, or later, is durable. */
  saved(): void {
    this.#spent = true;
  }

  /** Whatever closing says changes nothing: what was answered is durable. */
  async close(): Promise<void> {
    for (const journal of [this.#active, this.#resting]) {
      await journal.close().catch(() => undefined);
    }
  }
}

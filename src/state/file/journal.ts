import { DurableFile, type FileSystem } from '../../platform/durable-file.js';
import { isInstant, isRecord, isRevision } from '../check.js';
import type { ColdState, HotState, Instant } from '../scope-state.js';
import { checksum } from './document.js';

/** One commit. */
export interface JournalRecord<Scope = RecordedScope> {
  readonly revision: number;
  /** Major of the schema that the scopes are written in. */
  readonly major: number;
  /** The store it belongs to. */
  readonly id: string;
  readonly at: Instant;
  /** What changed, whole: to apply a record is to overwrite. */
  readonly scopes: ReadonlyMap<string, Scope>;
}

export interface RecordedScope {
  readonly hot: HotState;
  /** Only where it changed. */
  readonly cold?: ColdState;
}

/** What a journal begins with, instead of a commit: revision and time of the state.json before it. */
export type FirstRecord = Omit<JournalRecord, 'scopes'>;

/** As read from disk; the scopes are yet to be checked. */
export interface FoundRecord extends JournalRecord<unknown> {
  /** Where it stands in the file. */
  readonly start: number;
  readonly end: number;
}

/** What is in a journal, wherever damage or old records lie. */
export interface FoundJournal {
  /** Whole ones, in the order of the file. */
  readonly records: readonly FoundRecord[];
  /** Revisions of those that were begun and are not whole, as far as they can be read. */
  readonly begun: readonly number[];
}

/** A file this long is given back to the disk when it starts over. */
const LARGE_BYTES = 16 * 1024 * 1024;

/**
 * A file of commits: a line each, `<checksum> <JSON>`. The first line is there from the beginning and stays:
 * a record without scopes, by which a start knows that the file is there, and which one it is.
 *
 * It starts over behind that line without being truncated, because overwriting blocks that are there is
 * faster than appending (measured: 0.14 ms against 0.25 ms), as the file's length need not be flushed
 * too. So behind the last record stand older ones; their revisions tell.
 */
export class Journal {
  readonly #file: DurableFile;
  readonly #begin: number;
  #end: number;
  #size: number;

  private constructor(file: DurableFile, begin: number) {
    this.#file = file;
    this.#begin = begin;
    this.#end = begin;
    this.#size = begin;
  }

  /** A new one without commits; never one whose write has failed. The caller syncs the directory. */
  static async create(files: FileSystem, path: string, first: FirstRecord): Promise<Journal> {
    await files.rm(path, { force: true });
    const file = await DurableFile.create(files, path);
    try {
      const line = encodeRecord({ ...first, scopes: new Map() });
      await file.write(line, 0);
      return new Journal(file, line.length);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Bytes of the records since it last started over. */
  get length(): number {
    return this.#end;
  }

  /** False once somebody has removed, replaced or cut the file short. */
  isInPlace(): Promise<boolean> {
    return this.#file.isInPlace(this.#end);
  }

  /** Resolves when the record is durable. Errors as of `DurableFile`; after one, don't append. */
  async append(record: JournalRecord): Promise<void> {
    const line = encodeRecord(record);
    await this.#file.write(line, this.#end);
    this.#end += line.length;
    this.#size = Math.max(this.#size, this.#end);
  }

  /** To be called when a durable state.json has all that is in it. */
  async startOver(): Promise<void> {
    this.#end = this.#begin;
    if (this.#size < LARGE_BYTES) return;
    // Saves space, no more: what lies behind the end is not read as part of the log.
    await this.#file.truncate(this.#begin).then(
      () => (this.#size = this.#begin),
      () => undefined,
    );
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

export function encodeRecord(record: JournalRecord): Buffer {
  const { revision, major, id, at, scopes } = record;
  const json = JSON.stringify({ revision, major, id, at, scopes: Object.fromEntries(scopes) });
  // In place, for the checksum and the write need the same bytes.
  const start = CHECKSUM_BYTES + 1;
  const line = Buffer.allocUnsafe(start + Buffer.byteLength(json) + 1);
  line.write(json, start);
  line.write(`${checksum(line.subarray(start, -1))} `, 'latin1');
  line[line.length - 1] = NEWLINE;
  return line;
}

/** How every record's JSON begins, and nothing within one: inside strings quotes are escaped. */
const START = ' {"revision":';
/** The digits of a revision, and what ends them. */
const REVISION = /^(\d+),/;
const REVISION_BYTES = 17;
const CHECKSUM_BYTES = 8;
const NEWLINE = 0x0a;

export function readJournal(bytes: Buffer): FoundJournal {
  const records: FoundRecord[] = [];
  const begun: number[] = [];
  for (let mark = bytes.indexOf(START); mark >= 0; mark = bytes.indexOf(START, mark + 1)) {
    const newline = bytes.indexOf(NEWLINE, mark);
    const start = mark - CHECKSUM_BYTES;
    const record = newline < 0 ? null : decodeRecord(bytes, start, newline);
    if (record !== null) {
      records.push({ ...record, start, end: newline + 1 });
      continue;
    }
    const digits = mark + START.length;
    const revision = REVISION.exec(bytes.toString('latin1', digits, digits + REVISION_BYTES));
    if (revision !== null) begun.push(Number(revision[1]));
  }
  return { records, begun };
}

function decodeRecord(bytes: Buffer, start: number, end: number): JournalRecord<unknown> | null {
  if (start < 0) return null;
  const jsonStart = start + CHECKSUM_BYTES + 1;
  const json = bytes.subarray(jsonStart, end);
  if (bytes.toString('latin1', start, jsonStart - 1) !== checksum(json)) return null;
  // The checksum fits, so it is the JSON that was written.
  const raw: unknown = JSON.parse(json.toString('utf8'));
  if (!isRecord(raw)) return null;
  const { revision, major, id, at, scopes } = raw;
  if (!isRevision(revision) || typeof major !== 'number' || typeof id !== 'string') return null;
  if (!isInstant(at) || !isRecord(scopes)) return null;
  return { revision, major, id, at, scopes: new Map(Object.entries(scopes)) };
}

/**
 * SQLite's write-ahead log, read without SQLite (https://www.sqlite.org/fileformat.html#walformat), so
 * that looking at a store changes nothing, and damage is told from a crash: SQLite drops everything
 * behind the first bad frame without a word, committed or not.
 */

export interface Wal {
  /** It goes with any commit written after a checkpoint has emptied it. Empty: nothing was written. */
  readonly generation: string;
  /** Pages by number, as the last commit left them. */
  readonly pages: ReadonlyMap<number, Buffer>;
  /** Of the database after the last commit, in pages; null if there is none. */
  readonly pageCount: number | null;
  /** Commits are lost: behind what can be read there are more than a crash can leave. */
  readonly damaged: boolean;
}

const HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;
/** The last bit says in which order the bytes of a word are summed up. */
const MAGIC = 0x377f0682;

const NOTHING: Wal = { generation: '', pages: new Map(), pageCount: null, damaged: false };

/** A log that holds no frame says nothing at all. */
export function hasFrames(bytes: Buffer | null): boolean {
  return bytes !== null && bytes.length > HEADER_BYTES + FRAME_HEADER_BYTES;
}

/** What tells one run of the log from the next. */
export function generationOf(bytes: Buffer | null): string {
  return bytes === null || bytes.length < HEADER_BYTES ? '' : bytes.toString('hex', 12, 24);
}

export function readWal(bytes: Buffer | null): Wal {
  if (bytes === null || !hasFrames(bytes)) return NOTHING;
  const magic = bytes.readUInt32BE(0);
  const pageSize = bytes.readUInt32BE(8);
  const sum = new Checksum(magic === MAGIC);
  sum.add(bytes, 0, 24);
  const known = magic === MAGIC || magic === MAGIC + 1;
  if (!known || pageSize < 512 || !sum.equals(bytes, 24)) return { ...NOTHING, damaged: true };

  const frames = framesOf(bytes, pageSize);
  const pages = new Map<number, Buffer>();
  let uncommitted: Frame[] = [];
  let pageCount: number | null = null;
  let next = 0;
  for (const frame of frames) {
    if (!frame.current) break;
    sum.add(bytes, frame.start, 8);
    sum.add(bytes, frame.start + FRAME_HEADER_BYTES, pageSize);
    if (!sum.equals(bytes, frame.start + 16)) break;
    next += 1;
    uncommitted.push(frame);
    if (frame.pageCount === 0) continue;
    for (const { page, data } of uncommitted) pages.set(page, data);
    uncommitted = [];
    pageCount = frame.pageCount;
  }
  const damaged = isMoreThanTorn(frames.slice(next));
  return { generation: generationOf(bytes), pages, pageCount, damaged };
}

/**
 * One commit at most was under way at a crash: what it left ends with the frame that commits. A
 * frame behind that one was written when the commit before it was durable.
 */
function isMoreThanTorn(rest: readonly Frame[]): boolean {
  const current = rest.filter((frame) => frame.current);
  const commit = current.findIndex((frame) => frame.pageCount !== 0);
  return commit >= 0 && commit < current.length - 1;
}

interface Frame {
  readonly start: number;
  readonly page: number;
  /** Zero but for the frame that commits. */
  readonly pageCount: number;
  /** Written since the log was last started over. */
  readonly current: boolean;
  readonly data: Buffer;
}

function framesOf(bytes: Buffer, pageSize: number): Frame[] {
  const frames: Frame[] = [];
  const size = FRAME_HEADER_BYTES + pageSize;
  for (let start = HEADER_BYTES; start + size <= bytes.length; start += size) {
    frames.push({
      start,
      page: bytes.readUInt32BE(start),
      pageCount: bytes.readUInt32BE(start + 4),
      current: bytes.compare(bytes, 16, 24, start + 8, start + 16) === 0,
      data: bytes.subarray(start + FRAME_HEADER_BYTES, start + size),
    });
  }
  return frames;
}

/** It goes on from frame to frame, so that no frame can be taken out. */
class Checksum {
  #first = 0;
  #second = 0;

  constructor(private readonly littleEndian: boolean) {}

  add(bytes: Buffer, start: number, length: number): void {
    const word = (at: number) =>
      this.littleEndian ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at);
    for (let at = start; at < start + length; at += 8) {
      this.#first = (this.#first + word(at) + this.#second) >>> 0;
      this.#second = (this.#second + word(at + 4) + this.#first) >>> 0;
    }
  }

  equals(bytes: Buffer, at: number): boolean {
    return bytes.readUInt32BE(at) === this.#first && bytes.readUInt32BE(at + 4) === this.#second;
  }
}

/** The database file with its log applied: what SQLite would read. */
export function imageOf(database: Buffer, wal: Wal): Buffer {
  const pageSize = pageSizeOf(database);
  const size = wal.pageCount === null ? database.length : wal.pageCount * pageSize;
  const image = Buffer.alloc(size);
  database.copy(image);
  for (const [page, data] of wal.pages) {
    if (page <= size / pageSize) data.copy(image, (page - 1) * pageSize);
  }
  // A copy in memory has no log; these two bytes say that it needs one.
  image.fill(1, 18, 20);
  return image;
}

function pageSizeOf(database: Buffer): number {
  const size = database.readUInt16BE(16);
  return size === 1 ? 65_536 : size;
}

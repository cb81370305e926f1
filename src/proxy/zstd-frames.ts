import zlib from 'node:zlib';

const MAGIC = 0xfd2fb528;
/** The last four bits of these are free. */
const SKIPPABLE_MAGIC = 0x184d2a50;
/** Frames of a prefix that are decoded at most: each costs a decoder of its own. */
const MAX_PREFIX_FRAMES = 16;
/**
 * Frames that follow others in one chunk cost a way to another thread and back each, and have nine bytes
 * at least. More than these are not decoded, unless a frame has this many bytes on average: an event
 * of a stream, compressed by itself, has more.
 */
const MOST_SMALL_FRAMES = 1_000;
const FRAME_BYTES = 64;

/** What a frame is made of (RFC 8878 §3.1), in this order; blocks repeat. */
type Part =
  | 'magic'
  | 'descriptor'
  | 'fields'
  | 'block header'
  | 'block'
  | 'checksum'
  | 'skippable size'
  | 'skippable'
  | 'no frame';

/**
 * Finds the ends of zstd frames in bytes that pass by. A body may be several of them, and Node's
 * decoder stops behind the first one that ends within a chunk.
 */
export class ZstdFrames {
  #part: Part = 'magic';
  /** Bytes of the part that are still to come. */
  #left = 4;
  /** The bytes of the part as a number, least first, where it has at most four. */
  #value = 0;
  #shift = 0;
  #hasChecksum = false;
  #isLastBlock = false;
  /** The chunk has ended within the number that tells what kind of frame it is. */
  #magicIsCut = false;
  #isNothing = false;

  /** What `frameEnd` counted last holds no content, and its decoder need not see it. */
  get isNothing(): boolean {
    return this.#isNothing;
  }

  /** How many of these bytes belong to the frame under way: all of them, if it does not end in there. */
  frameEnd(bytes: Buffer): number {
    if (this.#part === 'magic' && this.#left === 4) {
      this.#isNothing = false;
      this.#magicIsCut = false;
    }
    for (let at = 0; at < bytes.length;) {
      if (this.#shift < 32) {
        this.#value += (bytes[at] as number) * 2 ** this.#shift;
        this.#shift += 8;
        this.#left -= 1;
        at += 1;
      } else {
        const passed = Math.min(this.#left, bytes.length - at);
        this.#left -= passed;
        at += passed;
      }
      if (this.#left === 0 && this.#endPart()) return at;
    }
    this.#magicIsCut ||= this.#part === 'magic';
    return bytes.length;
  }

  /** True at the end of a frame. */
  #endPart(): boolean {
    const value = this.#value;
    switch (this.#part) {
      case 'magic':
        if (value === MAGIC) return this.#begin('descriptor', 1);
        if ((value & ~0x0f) === SKIPPABLE_MAGIC) {
          // A decoder that has seen its beginning sees all of it.
          this.#isNothing = !this.#magicIsCut;
          return this.#begin('skippable size', 4);
        }
        return this.#begin('no frame', Number.POSITIVE_INFINITY);
      case 'descriptor':
        this.#hasChecksum = (value & 0x04) !== 0;
        return this.#begin('fields', fieldBytes(value));
      case 'fields':
        return this.#begin('block header', 3);
      case 'block header':
        this.#isLastBlock = (value & 1) !== 0;
        // One byte that is said once for all of a run.
        return this.#begin('block', ((value >> 1) & 3) === 1 ? 1 : value >> 3);
      case 'block':
        if (!this.#isLastBlock) return this.#begin('block header', 3);
        return this.#begin('checksum', this.#hasChecksum ? 4 : 0);
      case 'skippable size':
        return this.#begin('skippable', value);
      case 'checksum':
      case 'skippable':
      case 'no frame':
        this.#begin('magic', 4);
        return true;
    }
  }

  #begin(part: Part, bytes: number): boolean {
    this.#part = part;
    this.#left = bytes;
    this.#value = 0;
    this.#shift = bytes > 4 ? 32 : 0;
    return bytes === 0 && this.#endPart();
  }
}

/** Of the frame's header, behind its descriptor. */
function fieldBytes(descriptor: number): number {
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const dictionaryId = [0, 1, 2, 4][descriptor & 3] as number;
  const contentSize = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6] as number;
  return (isSingleSegment ? 0 : 1) + dictionaryId + contentSize;
}

/** A decoder of all frames. */
export function createZstdDecompress(options: zlib.ZstdOptions): zlib.ZstdDecompress {
  const stream = zlib.createZstdDecompress(options);
  const frames = new ZstdFrames();
  const decode = stream._transform.bind(stream);
  let allowed = MOST_SMALL_FRAMES * FRAME_BYTES;
  stream._transform = (chunk: Buffer, encoding, done) => {
    // To flush.
    if (chunk.length === 0) return decode(chunk, encoding, done);
    allowed += chunk.length;
    const decodeFrom = (start: number): void => {
      for (let at = start; at < chunk.length;) {
        const end = at + frames.frameEnd(chunk.subarray(at));
        const piece = chunk.subarray(at, end);
        at = end;
        if (frames.isNothing) continue;
        if (end === chunk.length) return decode(piece, encoding, done);
        allowed -= FRAME_BYTES;
        if (allowed < 0) return done(new Error('too many small frames'));
        return decode(piece, encoding, (error) => {
          if (error) done(error);
          else decodeFrom(end);
        });
      }
      done();
    };
    decodeFrom(0);
  };
  return stream;
}

/**
 * Decodes frame by frame, until there are `enoughBytes`; throws if not even the first one can be. What
 * follows it may be no frame at all, and takes nothing from what was decoded.
 */
export function zstdDecompressSync(
  bytes: Buffer,
  options: zlib.ZstdOptions,
  enoughBytes: number,
): Buffer {
  const frames = new ZstdFrames();
  const decoded: Buffer[] = [];
  let decodedBytes = 0;
  for (let rest = bytes; rest.length > 0;) {
    const end = frames.frameEnd(rest);
    const frame = rest.subarray(0, end);
    rest = rest.subarray(end);
    if (frames.isNothing) continue;
    try {
      const part = zlib.zstdDecompressSync(frame, options);
      decoded.push(part);
      decodedBytes += part.length;
    } catch (error) {
      if (decoded.length === 0) throw error;
      break;
    }
    if (decoded.length >= MAX_PREFIX_FRAMES || decodedBytes >= enoughBytes) break;
  }
  return Buffer.concat(decoded);
}

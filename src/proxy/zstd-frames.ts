import zlib from 'node:zlib';

const MAGIC = 0xfd2fb528;
/** The last four bits of these are free. */
const SKIPPABLE_MAGIC = 0x184d2a50;
/** Frames of a prefix that are decoded at most: each costs a decoder of its own. */
const MAX_PREFIX_FRAMES = 16;

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

  /** How many of these bytes belong to the frame under way: all of them, if it does not end in there. */
  frameEnd(bytes: Buffer): number {
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
    return bytes.length;
  }

  /** True at the end of a frame. */
  #endPart(): boolean {
    const value = this.#value;
    switch (this.#part) {
      case 'magic':
        if (value === MAGIC) return this.#begin('descriptor', 1);
        if ((value & ~0x0f) === SKIPPABLE_MAGIC) return this.#begin('skippable size', 4);
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
  stream._transform = (chunk: Buffer, encoding, done) => {
    const end = frames.frameEnd(chunk);
    if (end === chunk.length) return decode(chunk, encoding, done);
    decode(chunk.subarray(0, end), encoding, (error) => {
      if (error) done(error);
      else stream._transform(chunk.subarray(end), encoding, done);
    });
  };
  return stream;
}

/** Decodes frame by frame, until there are `enoughBytes`. */
export function zstdDecompressSync(
  bytes: Buffer,
  options: zlib.ZstdOptions,
  enoughBytes: number,
): Buffer {
  const frames = new ZstdFrames();
  const decoded: Buffer[] = [];
  let decodedBytes = 0;
  for (let rest = bytes; decoded.length < MAX_PREFIX_FRAMES && decodedBytes < enoughBytes;) {
    const end = frames.frameEnd(rest);
    const part = zlib.zstdDecompressSync(rest.subarray(0, end), options);
    decoded.push(part);
    decodedBytes += part.length;
    rest = rest.subarray(end);
    if (rest.length === 0) break;
  }
  return Buffer.concat(decoded);
}

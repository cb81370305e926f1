/**
 * Decodes a copy of an answer's body for metering. The bytes relayed to the client are others and
 * never wait for their own decoding, only for the decoder to keep up.
 *
 * Decoded bytes are handed over and forgotten, so that memory holds what lies undecoded, and that
 * is bounded: `write` asks for a pause, and a caller who goes on regardless loses the metering, not
 * the memory. A decompression bomb costs time at the pace at which it is decoded, and no memory.
 */
import type { Transform } from 'node:stream';
import zlib from 'node:zlib';
import { createZstdDecompress, zstdDecompressSync } from './zstd-frames.js';

/** Codings stacked on one another that are still undone. */
const MAX_STACK = 3;
/** Undecoded bytes at which `write` asks for a pause, at each coding. */
const PAUSE_BYTES = 65_536;
/** Undecoded bytes at which the decoder gives up. */
const MAX_PENDING_BYTES = 4_194_304;
/** Bytes of an error body that are decoded at once, and characters kept of the result. */
const PREFIX_BYTES = 65_536;
/** How gzip begins without the name of a file or other additions, and how long its header is then. */
const GZIP_WITHOUT_NAME = Buffer.from([0x1f, 0x8b, 8, 0]);
const GZIP_HEADER_BYTES = 10;
/** How far decoding a prefix may expand it before a shorter one is taken. */
const MAX_PREFIX_OUTPUT = 1_048_576;

export interface BodyDecoder {
  /**
   * False: the coding is unknown, or the bytes do not follow it, or not all of them. Nothing more is
   * handed over then.
   */
  readonly decodable: boolean;
  /**
   * False asks for a pause until `onDrained` is called. The chunk must not be changed afterwards.
   */
  write(chunk: Buffer): boolean;
  /** Resolves once everything that could be decoded was handed over. Never rejects. */
  end(): Promise<void>;
}

/** Takes the value of `content-encoding`. Null: the bytes are the content as they are. */
export function openBodyDecoder(
  contentEncoding: string | undefined,
  onDecoded: (chunk: Buffer) => void,
  onDrained: () => void,
): BodyDecoder | null {
  // Nearly always.
  if (contentEncoding === undefined) return null;
  const codings = codingsOf(contentEncoding);
  if (codings === null) return UNDECODABLE;
  return codings.length === 0 ? null : new StackDecoder(codings, onDecoded, onDrained);
}

const UNDECODABLE: BodyDecoder = {
  decodable: false,
  write: () => true,
  end: () => Promise.resolve(),
};

/**
 * The start of a body as text, as far as its first 64 KiB give one. A body cut anywhere gives what
 * came before the cut; an unknown coding, or bytes that do not follow theirs, give the empty text.
 */
export function decodePrefix(contentEncoding: string | undefined, bytes: Buffer): string {
  const codings = codingsOf(contentEncoding);
  if (codings === null) return '';
  let prefix: Buffer | null = bytes.subarray(0, PREFIX_BYTES);
  for (const coding of codings) {
    prefix = inflatePrefix(coding, prefix)?.subarray(0, PREFIX_BYTES) ?? null;
    if (prefix === null) return '';
  }
  return prefix.toString('utf8');
}

type Coding = 'gzip' | 'deflate' | 'br' | 'zstd';

interface Codec {
  open(firstByte: number): Transform;
  inflate(bytes: Buffer): Buffer;
}

const ZLIB = { finishFlush: zlib.constants.Z_SYNC_FLUSH, maxOutputLength: MAX_PREFIX_OUTPUT };
const BROTLI = {
  finishFlush: zlib.constants.BROTLI_OPERATION_FLUSH,
  maxOutputLength: MAX_PREFIX_OUTPUT,
};
// Node has zstd from 22.15 on.
const ZSTD = { finishFlush: zlib.constants.ZSTD_e_flush, maxOutputLength: MAX_PREFIX_OUTPUT };
const HAS_ZSTD = typeof zlib.createZstdDecompress === 'function';

/** With `finishFlush` the end of a cut body is no error: what came before the cut is decoded. */
const CODECS: Readonly<Record<Coding, Codec>> = {
  gzip: {
    open: () => zlib.createGunzip(opening(ZLIB)),
    inflate: gunzip,
  },
  // The coding is zlib's format, but some servers send the bare one (RFC 9110 §8.4.1.2).
  deflate: {
    open: (firstByte) =>
      isZlib(firstByte) ? zlib.createInflate(opening(ZLIB)) : zlib.createInflateRaw(opening(ZLIB)),
    inflate: (bytes) =>
      isZlib(bytes[0] ?? 0) ? zlib.inflateSync(bytes, ZLIB) : zlib.inflateRawSync(bytes, ZLIB),
  },
  br: {
    open: () => zlib.createBrotliDecompress(opening(BROTLI)),
    inflate: (bytes) => zlib.brotliDecompressSync(bytes, BROTLI),
  },
  zstd: {
    open: () => createZstdDecompress(opening(ZSTD)),
    inflate: (bytes) => zstdDecompressSync(bytes, ZSTD, PREFIX_BYTES),
  },
};

/**
 * What follows a body of gzip, and is none, takes nothing from what was decoded, as with the others. Node
 * refuses both, but not where a bare deflate is followed by something, and that is behind the header.
 */
function gunzip(bytes: Buffer): Buffer {
  try {
    return zlib.gunzipSync(bytes, ZLIB);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'Z_DATA_ERROR' || !bytes.subarray(0, 4).equals(GZIP_WITHOUT_NAME)) throw error;
    return zlib.inflateRawSync(bytes.subarray(GZIP_HEADER_BYTES), ZLIB);
  }
}

function opening({ finishFlush }: { readonly finishFlush: number }) {
  return { finishFlush, highWaterMark: PAUSE_BYTES };
}

/**
 * Every zlib header begins with method 8; a bare stream that does would hold padding that is not
 * zero.
 */
function isZlib(firstByte: number): boolean {
  return (firstByte & 0x0f) === 8;
}

/**
 * In the order in which they are undone: the last one named was applied last. Null if one is
 * unknown.
 */
function codingsOf(contentEncoding: string | undefined): readonly Coding[] | null {
  const codings: Coding[] = [];
  for (const name of (contentEncoding ?? '').toLowerCase().split(',')) {
    const coding = codingNamed(name.trim());
    if (coding === null) return null;
    if (coding !== 'identity') codings.unshift(coding);
  }
  return codings.length <= MAX_STACK ? codings : null;
}

function codingNamed(name: string): Coding | 'identity' | null {
  switch (name) {
    case '':
    case 'identity':
      return 'identity';
    case 'gzip':
    case 'x-gzip':
      return 'gzip';
    case 'deflate':
    case 'br':
      return name;
    case 'zstd':
      return HAS_ZSTD ? 'zstd' : null;
    default:
      return null;
  }
}

/** Null if the bytes do not follow the coding, or expand beyond measure from the first one on. */
function inflatePrefix(coding: Coding, bytes: Buffer): Buffer | null {
  for (let prefix = bytes; prefix.length > 0; prefix = prefix.subarray(0, prefix.length >> 2)) {
    try {
      return CODECS[coding].inflate(prefix);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ERR_BUFFER_TOO_LARGE') return null;
    }
  }
  return bytes.length === 0 ? bytes : null;
}

/** Codings undone one after the other, each by a stream that opens with its first byte. */
class StackDecoder implements BodyDecoder {
  readonly #codings: readonly Coding[];
  readonly #onDecoded: (chunk: Buffer) => void;
  readonly #onDrained: () => void;
  readonly #stages: Transform[] = [];
  readonly #finished: Promise<void>;
  #finish: () => void = () => {};
  #decodable = true;

  constructor(
    codings: readonly Coding[],
    onDecoded: (chunk: Buffer) => void,
    onDrained: () => void,
  ) {
    this.#codings = codings;
    this.#onDecoded = onDecoded;
    this.#onDrained = onDrained;
    this.#finished = new Promise((resolve) => (this.#finish = resolve));
  }

  get decodable(): boolean {
    return this.#decodable;
  }

  write(chunk: Buffer): boolean {
    if (!this.#decodable || chunk.length === 0) return true;
    const stage = this.#stages[0] ?? this.#open(0, chunk);
    const ready = stage.write(chunk);
    if (stage.writableLength <= MAX_PENDING_BYTES) return ready;
    this.#giveUp();
    return true;
  }

  end(): Promise<void> {
    const stage = this.#stages[0];
    if (stage === undefined) this.#finish();
    else if (this.#decodable && !stage.writableEnded) stage.end();
    return this.#finished;
  }

  #open(index: number, firstChunk: Buffer): Transform {
    const stage = CODECS[this.#codings[index] as Coding].open(firstChunk[0] ?? 0);
    this.#stages[index] = stage;
    stage.on('error', () => {
      this.#giveUp();
      // Whoever was asked to pause must not wait for a decoder that has given up.
      this.#onDrained();
    });
    if (index === 0) stage.on('drain', () => this.#onDrained());
    if (index === this.#codings.length - 1) {
      stage.on('data', (chunk: Buffer) => this.#onDecoded(chunk));
      stage.on('end', () => {
        this.#noteEnd(index);
        this.#finish();
      });
      return stage;
    }
    // The next stage can be opened once its first byte is known; `pipe` then keeps them in step.
    stage.once('data', (chunk: Buffer) => {
      const next = this.#open(index + 1, chunk);
      next.write(chunk);
      stage.pipe(next);
    });
    stage.on('end', () => {
      this.#noteEnd(index);
      if (this.#stages[index + 1] === undefined) this.#finish();
    });
    return stage;
  }

  /** Bytes that follow the end of a coding are nobody knows what; what came before is decoded further. */
  #noteEnd(index: number): void {
    const stage = this.#stages[index] as Transform;
    if (stage.writableEnded && stage.writableLength === 0) return;
    this.#decodable = false;
    for (const done of this.#stages.slice(0, index + 1)) done.destroy();
    this.#onDrained();
  }

  #giveUp(): void {
    this.#decodable = false;
    for (const stage of this.#stages) stage.destroy();
    this.#finish();
  }
}

import { setImmediate } from 'node:timers/promises';
import zlib from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type BodyDecoder, decodePrefix, openBodyDecoder } from '../../src/proxy/body-decoder.js';

type Encode = (bytes: Buffer) => Buffer;

/** At its lowest quality: the highest takes a second for what this takes milliseconds for. */
const brotli: Encode = (bytes) =>
  zlib.brotliCompressSync(bytes, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 1 } });

const CODINGS: readonly (readonly [string, Encode])[] = [
  ['gzip', (bytes) => zlib.gzipSync(bytes)],
  ['x-gzip', (bytes) => zlib.gzipSync(bytes)],
  ['deflate', (bytes) => zlib.deflateSync(bytes)],
  ['Deflate', (bytes) => zlib.deflateRawSync(bytes)],
  ['br', (bytes) => brotli(bytes)],
  ['zstd', (bytes) => zlib.zstdCompressSync(bytes)],
  ['gzip, br', (bytes) => brotli(zlib.gzipSync(bytes))],
  ['deflate,identity , gzip', (bytes) => zlib.gzipSync(zlib.deflateSync(bytes))],
  ['br, deflate, zstd', (bytes) => zlib.zstdCompressSync(zlib.deflateRawSync(brotli(bytes)))],
];
const ENCODED = CODINGS.filter(([coding]) => !coding.includes('identity'));

interface Decoded {
  readonly bytes: Buffer;
  readonly decodable: boolean;
}

/** Of a coding that is one. */
function open(...options: Parameters<typeof openBodyDecoder>): BodyDecoder {
  return openBodyDecoder(...options) as BodyDecoder;
}

/** Pauses when asked, as the relay does. */
async function decode(coding: string, chunks: readonly Buffer[]): Promise<Decoded> {
  const parts: Buffer[] = [];
  let drained = () => {};
  const decoder = open(
    coding,
    (part) => parts.push(Buffer.from(part)),
    () => drained(),
  );
  for (const chunk of chunks) {
    const paused = new Promise<void>((resolve) => (drained = resolve));
    if (!decoder.write(chunk)) await paused;
  }
  await decoder.end();
  return { bytes: Buffer.concat(parts), decodable: decoder.decodable };
}

function inChunks(bytes: Buffer, size: number): Buffer[] {
  const chunks: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.subarray(at, at + size));
  return chunks;
}

const TEXT = Buffer.from('event: ping\ndata: {"type":"ping","€":"日本語"}\n\n'.repeat(2000));
/** Does not compress, so that it fills the buffers on its way in. */
const NOISE = Buffer.from(
  Array.from({ length: 600_000 }, (_, at) => (at * at * 2_654_435_761) >>> 13),
);
/**
 * A last block is missing, and a block of a type that deflate does not have stands in its place.
 */
const BROKEN_MIDWAY = Buffer.concat([
  zlib.gzipSync(NOISE, { finishFlush: zlib.constants.Z_SYNC_FLUSH }),
  Buffer.alloc(100, 0x07),
]);
const NOTHING = Buffer.alloc(0);

/** A zstd frame that holds no content. */
function skippable(bytes: number): Buffer {
  const frame = Buffer.alloc(8 + bytes, 'any');
  frame.writeUInt32LE(0x184d2a50, 0);
  frame.writeUInt32LE(bytes, 4);
  return frame;
}

describe('the body decoder', () => {
  it.each(CODINGS)('undoes %s, however the chunks are cut', async (coding, encode) => {
    for (const [body, sizes] of [
      [TEXT, [1, 7, 1000, 1e9]],
      [NOISE, [1460, 65_536, 1e9]],
    ] as const) {
      const encoded = encode(body);
      for (const size of sizes) {
        if (size === 1 && encoded.length > 20_000) continue;
        const { bytes, decodable } = await decode(coding, inChunks(encoded, size));
        expect(bytes.equals(body)).toBe(true);
        expect(decodable).toBe(true);
      }
    }
  });

  it.each([undefined, '', 'identity', ' Identity , identity'])(
    'is none for %j: there is nothing to undo',
    (coding) => {
      const unwanted = () => expect.unreachable();
      expect(openBodyDecoder(coding, unwanted, unwanted)).toBeNull();
    },
  );

  it.each(['compress', 'aes128gcm', 'gzip, what', 'gzip gzip'])(
    'gives nothing of %s',
    async (coding) => {
      const encoded = zlib.gzipSync(TEXT);
      expect(await decode(coding, [encoded])).toEqual({ bytes: NOTHING, decodable: false });
    },
  );

  it('undoes three codings and no more', async () => {
    const thrice = zlib.gzipSync(zlib.gzipSync(zlib.gzipSync(TEXT)));
    expect((await decode('gzip,gzip,gzip', [thrice])).bytes.equals(TEXT)).toBe(true);
    const more = await decode('gzip,gzip,gzip,gzip', [zlib.gzipSync(thrice)]);
    expect(more).toEqual({ bytes: NOTHING, decodable: false });
  });

  it('hands an event over when it came, not when the stream ends', async () => {
    const gzip = zlib.createGzip();
    const seen: string[] = [];
    const unwanted = () => expect.unreachable();
    const decoder = open('gzip', (chunk) => seen.push(chunk.toString()), unwanted);
    gzip.on('data', (chunk: Buffer) => decoder.write(chunk));
    gzip.write('data: one\n\n');
    await new Promise<void>((resolve) => gzip.flush(() => resolve()));
    for (let turn = 0; turn < 10_000 && seen.length === 0; turn++) await setImmediate();
    expect(seen.join('')).toBe('data: one\n\n');
    gzip.destroy();
    await decoder.end();
  });

  it.each(ENCODED)('gives of a cut body in %s what came before the cut', async (coding, encode) => {
    const encoded = encode(TEXT);
    for (const length of [0, 1, 5, Math.floor(encoded.length / 2), encoded.length - 1]) {
      const { bytes, decodable } = await decode(coding, [encoded.subarray(0, length)]);
      expect(decodable).toBe(true);
      expect(TEXT.subarray(0, bytes.length).equals(bytes)).toBe(true);
    }
  });

  it('gives up on bytes that do not follow their coding, keeping what it gave', async () => {
    const { bytes, decodable } = await decode('gzip', [BROKEN_MIDWAY, TEXT, TEXT]);
    expect(decodable).toBe(false);
    expect(bytes.length).toBeGreaterThan(0);
    expect(NOISE.subarray(0, bytes.length).equals(bytes)).toBe(true);
    for (const coding of ['gzip', 'br', 'zstd', 'gzip, br']) {
      expect(await decode(coding, [TEXT, TEXT])).toEqual({ bytes: NOTHING, decodable: false });
    }
    // The outer coding is right, the inner one is not.
    expect((await decode('gzip, deflate', [zlib.deflateSync(TEXT)])).decodable).toBe(false);
  });

  it('reads all members of a gzip', async () => {
    const two = Buffer.concat([zlib.gzipSync('one'), zlib.gzipSync('two')]);
    for (const size of [1, 25, 1e9]) {
      const { bytes, decodable } = await decode('gzip', inChunks(two, size));
      expect([bytes.toString(), decodable]).toEqual(['onetwo', true]);
    }
  });

  it('reads all frames of a zstd, whatever they are made of and however the chunks are cut', async () => {
    const skipped = Buffer.from('\x5f\x2a\x4d\x18\x03\x00\x00\x00any', 'latin1');
    const withChecksum = { params: { [zlib.constants.ZSTD_c_checksumFlag]: 1 } };
    const withoutSize = { params: { [zlib.constants.ZSTD_c_contentSizeFlag]: 0 } };
    const frames = [
      zlib.zstdCompressSync('one'),
      skipped,
      zlib.zstdCompressSync(NOISE, withChecksum),
      zlib.zstdCompressSync(NOTHING),
      skippable(0),
      // The second of its three blocks is one byte, many times.
      zlib.zstdCompressSync(Buffer.alloc(300_000)),
      zlib.zstdCompressSync(TEXT, withoutSize),
      zlib.zstdCompressSync(TEXT.subarray(0, 300)),
    ];
    const body = Buffer.concat(frames);
    const text = [Buffer.from('one'), NOISE, Buffer.alloc(300_000), TEXT, TEXT.subarray(0, 300)];
    for (const size of [61, 4_096, 65_536, 1e9]) {
      const { bytes, decodable } = await decode('zstd', inChunks(body, size));
      expect(bytes.equals(Buffer.concat(text))).toBe(true);
      expect(decodable).toBe(true);
    }
    const inner = await decode('zstd, gzip', [zlib.gzipSync(body)]);
    expect(inner.bytes.equals(Buffer.concat(text))).toBe(true);
    const bytewise = await decode(
      'zstd',
      inChunks(Buffer.concat([...frames.slice(0, 2), frames[0]!]), 1),
    );
    expect(bytewise.bytes.toString()).toBe('oneone');
  });

  it('does not spend its time on frames of a zstd without content', async () => {
    const empty = inChunks(Buffer.alloc(1_048_576, skippable(0)), 65_537);
    const one = zlib.zstdCompressSync('one');
    for (const chunks of [
      [one, ...empty, one],
      [...empty, one, skippable(0), one],
    ]) {
      const { bytes, decodable } = await decode('zstd', chunks);
      expect([bytes.toString(), decodable]).toEqual(['oneone', true]);
    }
    expect(await decode('zstd', empty)).toEqual({ bytes: NOTHING, decodable: true });
  });

  it('gives up on frames of a zstd that come in great numbers and hold next to nothing', async () => {
    const tiny = zlib.zstdCompressSync(NOTHING);
    const many = Buffer.alloc(1_000_000 * tiny.length, tiny);
    expect(await decode('zstd', inChunks(many, 65_536))).toEqual({
      bytes: NOTHING,
      decodable: false,
    });
    // Events of a stream, each compressed by itself, are no such thing.
    const events = Array.from(
      { length: 2_000 },
      (_, at) => `data: {"id":${at},"at":"${at * at}"}\n\n`,
    );
    const frames = events.map((event) => zlib.zstdCompressSync(Buffer.from(event.padEnd(60, '.'))));
    const { bytes, decodable } = await decode('zstd', [Buffer.concat(frames)]);
    expect(decodable).toBe(true);
    expect(bytes.length).toBe(2_000 * 60);
  });

  describe.each(ENCODED)('finds bytes behind the end of a body in %s', (coding, encode) => {
    it.each([
      ['few', Buffer.from('\x00 more')],
      ['many', NOISE],
      ['another body', encode(TEXT)],
    ])('%s, and says so', async (what, behind) => {
      const members = what === 'another body' && /^(x-gzip|gzip|zstd)$/.test(coding);
      for (const chunks of [
        [Buffer.concat([encode(TEXT), behind])],
        [encode(TEXT), behind, ...(members ? [] : [behind])],
        [encode(TEXT), ...inChunks(behind, 10_000)],
      ]) {
        // Whoever is asked to pause would wait for ever otherwise.
        const { bytes, decodable } = await decode(coding, chunks);
        if (members) {
          expect([bytes.equals(Buffer.concat([TEXT, TEXT])), decodable]).toEqual([true, true]);
          continue;
        }
        expect(decodable).toBe(false);
        // What was not decoded yet when the fault was found is lost.
        expect(TEXT.subarray(0, bytes.length).equals(bytes)).toBe(true);
      }
    });
  });

  it('does not keep a relay waiting for what lies behind the end of an inner coding', async () => {
    const inner = Buffer.concat([brotli(TEXT), NOISE, NOISE]);
    const { bytes, decodable } = await decode('br, gzip', inChunks(zlib.gzipSync(inner), 65_536));
    expect([bytes.equals(TEXT), decodable]).toEqual([true, false]);
  });

  it('does not keep a relay waiting that it asked to pause before it gave up', async () => {
    let drained = 0;
    const decoder = open(
      'gzip',
      () => {},
      () => drained++,
    );
    expect(decoder.write(BROKEN_MIDWAY)).toBe(false);
    await decoder.end();
    for (let turn = 0; turn < 10_000 && drained === 0; turn++) await setImmediate();
    expect(drained).toBe(1);
    expect(decoder.decodable).toBe(false);
  });

  it('takes a bomb in bounded memory, and asks for pauses meanwhile', async () => {
    const bomb = zlib.gzipSync(Buffer.alloc(256 * 1024 * 1024), { level: 1 });
    const before = process.memoryUsage().arrayBuffers;
    let most = 0;
    let total = 0;
    let pauses = 0;
    let drained = () => {};
    const decoder = open(
      'gzip',
      (chunk) => {
        total += chunk.length;
        if (total % 4_194_304 < 20_000) most = Math.max(most, process.memoryUsage().arrayBuffers);
      },
      () => drained(),
    );
    for (const chunk of inChunks(bomb, 65_536)) {
      const paused = new Promise<void>((resolve) => (drained = resolve));
      if (decoder.write(chunk)) continue;
      pauses++;
      await paused;
    }
    await decoder.end();
    expect(total).toBe(256 * 1024 * 1024);
    expect(pauses).toBeGreaterThan(0);
    // Garbage not yet collected is counted too; without back-pressure all 256 MiB would be there.
    expect(most - before).toBeLessThan(64 * 1024 * 1024);
  });

  it('gives up, not grows, where its pauses are ignored', async () => {
    const encoded = zlib.gzipSync(Buffer.alloc(20 * 1024 * 1024, NOISE), { level: 0 });
    const nothing = () => {};
    const decoder = open('gzip', nothing, nothing);
    for (const chunk of inChunks(encoded, 65_536)) decoder.write(chunk);
    expect(decoder.decodable).toBe(false);
    await decoder.end();
  });

  it('never throws or hangs on hostile bytes', async () => {
    const coding = fc.constantFrom(...ENCODED.map(([name]) => name));
    const chunks = fc.array(fc.uint8Array({ maxLength: 50 }).map((bytes) => Buffer.from(bytes)));
    await fc.assert(
      fc.asyncProperty(coding, chunks, async (name, parts) => {
        await decode(name, parts);
        decodePrefix(name, Buffer.concat(parts));
      }),
      { numRuns: 200 },
    );
  });
});

describe('the prefix of an error body', () => {
  const error = Buffer.from('{"type":"error","error":{"type":"rate_limit_error","message":"€"}}');

  it.each(CODINGS)('is decoded from %s', (coding, encode) => {
    expect(decodePrefix(coding, encode(error))).toBe(error.toString());
  });

  it.each(CODINGS)('is what came before the cut in %s', (coding, encode) => {
    const text = TEXT.toString();
    const encoded = encode(TEXT);
    for (let length = 0; length < encoded.length; length += Math.ceil(encoded.length / 20)) {
      const prefix = decodePrefix(coding, encoded.subarray(0, length)).replace(/\ufffd+$/, '');
      expect(text.startsWith(prefix)).toBe(true);
    }
  });

  it('is most of a body cut near its end, where the coding allows it', () => {
    const encoded = zlib.gzipSync(TEXT);
    expect(decodePrefix('gzip', encoded.subarray(0, -10)).length).toBeGreaterThan(1000);
  });

  it('is at most 64 KiB, of plain and of encoded bodies and of bombs', () => {
    const zeros = Buffer.alloc(50 * 1024 * 1024);
    expect(decodePrefix(undefined, zeros)).toHaveLength(65_536);
    expect(decodePrefix('gzip', zlib.gzipSync(zeros))).toHaveLength(65_536);
    expect(decodePrefix('gzip, gzip', zlib.gzipSync(zlib.gzipSync(zeros)))).toHaveLength(65_536);
    expect(decodePrefix('br', brotli(zeros)).length).toBeLessThanOrEqual(65_536);
  });

  it('goes on in the next frame of a zstd', () => {
    const halves = [error.subarray(0, 20), error.subarray(20)];
    const frames = Buffer.concat(halves.map((half) => zlib.zstdCompressSync(half)));
    expect(decodePrefix('zstd', frames)).toBe(error.toString());
    const one = zlib.zstdCompressSync('x');
    const many = Buffer.alloc(100_000 * one.length, one);
    expect(decodePrefix('zstd', many)).toBe('x'.repeat(16));
  });

  it('is not lost to what follows a frame of a zstd, and is none', () => {
    const frame = zlib.zstdCompressSync(error);
    for (const behind of ['\n', '\0\0\0\0', 'garbage', '\x28\xb5\x2f\xfd garbage']) {
      const bytes = Buffer.concat([frame, Buffer.from(behind, 'latin1')]);
      expect(decodePrefix('zstd', bytes)).toBe(error.toString());
    }
    expect(decodePrefix('zstd', Buffer.concat([skippable(16), Buffer.from('garbage')]))).toBe('');
  });

  it.each(ENCODED)('is not lost to what follows a body in %s, and is none', (coding, encode) => {
    const followed = Buffer.concat([encode(error), Buffer.from('garbage')]);
    expect(decodePrefix(coding, followed)).toBe(error.toString());
  });

  it('is found behind frames of a zstd without content', () => {
    const bytes = Buffer.concat([...Array(100).fill(skippable(3)), zlib.zstdCompressSync(error)]);
    expect(decodePrefix('zstd', bytes)).toBe(error.toString());
  });

  it('is empty where the coding is unknown or not followed', () => {
    expect(decodePrefix('compress', error)).toBe('');
    expect(decodePrefix('gzip', error)).toBe('');
    expect(decodePrefix('gzip', Buffer.alloc(0))).toBe('');
    expect(decodePrefix('gzip', Buffer.from('\x1f\x8b\x08\0no more of it', 'latin1'))).toBe('');
    expect(decodePrefix('identity', error)).toBe(error.toString());
  });
});

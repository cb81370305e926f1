import fc from 'fast-check';

/** Where to cut, as fractions of the whole; duplicates make empty chunks. */
export const cuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 20 });

export function cutAt(bytes: Buffer, places: readonly number[]): Buffer[] {
  const at = places.map((place) => Math.round(place * bytes.length)).toSorted((a, b) => a - b);
  return [...at, bytes.length].map((end, index) => bytes.subarray(at[index - 1] ?? 0, end));
}

/** Hands each chunk over in memory that is overwritten afterwards, as a reused read buffer is. */
export function feed(chunks: readonly Buffer[], push: (chunk: Buffer) => void): void {
  for (const chunk of chunks) {
    const passing = Buffer.from(chunk);
    push(passing);
    passing.fill(0x58);
  }
}

/** Bytes that a parser of JSON and SSE stumbles over: structure, escapes and broken UTF-8. */
export const hostileBytes = fc
  .array(
    fc.oneof(
      fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
      fc
        .constantFrom(
          ...'{ } [ ] " \\ : , \0 null \\u __proto__ data: event: -1 1e999 \xef\xbb\xbf'.split(' '),
          ...'"model" "model":"m" "messages":[ "usage": "text":" {"type":"error"'.split(' '),
          ...' |\n|\r|\r\n|\n\n|data: |event: message_start|event: message_delta'.split('|'),
          ...'event: error|event: content_block_delta|{"usage":{"input_tokens":'.split('|'),
          '"usage":{"iterations":[null,1,{}]}',
        )
        .map((text) => Buffer.from(text, 'latin1')),
    ),
    { maxLength: 60 },
  )
  .map((parts) => Buffer.concat(parts));

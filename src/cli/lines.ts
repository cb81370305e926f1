import { closeSync, openSync, readSync } from 'node:fs';
import { StringDecoder } from 'node:string_decoder';

const CHUNK_BYTES = 256 * 1_024;
/** A line longer than this is cut there: no line of ours is. */
const LONGEST_LINE = 64 * 1_024;

/** The lines of a file of any size, one after another. */
export function* linesOf(path: string): Generator<string> {
  const file = openSync(path, 'r');
  const decoder = new StringDecoder('utf8');
  const chunk = Buffer.alloc(CHUNK_BYTES);
  let rest = '';
  try {
    for (;;) {
      const bytes = readSync(file, chunk, 0, CHUNK_BYTES, null);
      const lines = decoder.write(chunk.subarray(0, bytes)).split('\n');
      // What was cut already is as long as a line may be, and nothing of what follows is put behind it.
      lines[0] = rest + lines[0];
      rest = cut(lines.pop() ?? '');
      for (const line of lines) yield cut(line);
      if (bytes === 0) break;
    }
    if (rest !== '') yield rest;
  } finally {
    closeSync(file);
  }
}

function cut(line: string): string {
  return line.length > LONGEST_LINE ? line.slice(0, LONGEST_LINE) : line;
}

/** How much was generated, judged by the text that passes by, and as figures of a usage state it. */
import { eachText } from './json.js';

/**
 * How much text one token stands for at least: Anthropic's own floor for a cut stream (wire facts
 * §2).
 */
export const CHARACTERS_PER_TOKEN = 4;

/**
 * Characters of the strings that stand as values of `keys`, at any depth; an escape is one of them.
 */
export function countCharacters(data: Buffer, keys: readonly string[]): number {
  let characters = 0;
  eachText(data, keys, (start, end) => {
    for (let at = start; at < end; at++) {
      const byte = data[at] ?? 0;
      // Bytes that continue a character in UTF-8 add none.
      if ((byte & 0xc0) === 0x80) continue;
      characters++;
      if (byte === 0x5c) at += data[at + 1] === 0x75 ? 5 : 1;
    }
  });
  return characters;
}

/** A number of tokens as an upstream states it; null for anything that can't be one. */
export function tokenCount(value: unknown): number | null {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : null;
}

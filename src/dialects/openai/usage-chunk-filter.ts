import type { AnswerFilter } from '../dialect.js';
import { JsonCursor } from '../json.js';
import { SseSplitter } from '../sse.js';
import { isEmptyArray } from './usage.js';

const LF = 0x0a;
const CR = 0x0d;
const COLON = 0x3a;
const CHOICES = Buffer.from('"choices"');

/** The chunk that is looked for has a few hundred bytes. What is longer passes as it comes. */
const MAX_HELD_BYTES = 16_384;

/**
 * Takes the one chunk out of a stream of Chat Completions that is there only because we asked for
 * it: `choices` empty, `usage` an object. All other bytes pass unchanged.
 *
 * Events are told apart by their blank line (WHATWG HTML §9.2.6), after LF, CR or CRLF. What is held
 * back is the beginning of one event whose end has not come, which no reader could use yet either;
 * whole events, and comments between them, pass with the chunk they came in.
 */
export class UsageChunkFilter implements AnswerFilter {
  /** The beginning of the event under way, from earlier chunks. */
  #held: Buffer[] = [];
  #heldBytes = 0;
  /** The event under way is too long to be the one: its bytes pass at once. */
  #passing = false;
  #lineBytes = 0;
  #afterCr = false;
  /** The line under way is a comment before its event. */
  #comment = false;
  /** The event that just ended was taken out; an LF that belongs to its last CR goes with it. */
  #dropped = false;

  push(chunk: Buffer): readonly Buffer[] {
    const passed: Buffer[] = [];
    /** Where the bytes begin that are to be passed on, and where the event under way begins. */
    let from = 0;
    let eventStart = 0;
    for (let at = 0; at < chunk.length; at++) {
      const byte = chunk[at];
      if (byte === LF && this.#afterCr) {
        this.#afterCr = false;
        // The second half of a line end: it belongs to what ended with the first.
        if (this.#atEventStart(at - eventStart)) {
          if (this.#dropped) from = at + 1;
          eventStart = at + 1;
        }
        continue;
      }
      this.#afterCr = byte === CR;
      if (byte !== LF && byte !== CR) {
        if (this.#lineBytes === 0) {
          this.#comment = byte === COLON && this.#atEventStart(at - eventStart);
        }
        const end = lineEnd(chunk, at);
        this.#lineBytes += end - at;
        at = end - 1;
        continue;
      }
      const blank = this.#lineBytes === 0;
      this.#lineBytes = 0;
      if (blank && this.#isWanted(chunk.subarray(eventStart, at + 1))) {
        if (eventStart > from) passed.push(chunk.subarray(from, eventStart));
        this.#let(passed, false);
        from = at + 1;
        this.#dropped = true;
      } else if (blank || this.#comment) {
        this.#let(passed, true);
        this.#dropped = false;
      } else {
        continue;
      }
      eventStart = at + 1;
    }
    if (this.#passing || this.#comment) eventStart = chunk.length;
    if (eventStart > from) passed.push(chunk.subarray(from, eventStart));
    this.#hold(chunk.subarray(Math.max(from, eventStart)), passed);
    return passed;
  }

  end(): readonly Buffer[] {
    const passed: Buffer[] = [];
    this.#let(passed, !this.#isWanted(EMPTY));
    return passed;
  }

  #atEventStart(bytesBefore: number): boolean {
    return bytesBefore === 0 && this.#heldBytes === 0 && !this.#passing;
  }

  #hold(bytes: Buffer, passed: Buffer[]): void {
    if (bytes.length === 0) return;
    this.#held.push(bytes);
    this.#heldBytes += bytes.length;
    if (this.#heldBytes <= MAX_HELD_BYTES) return;
    this.#let(passed, true);
    this.#passing = true;
  }

  /** Lets go of what is held: passes it on before anything else of the present chunk, or drops it. */
  #let(passed: Buffer[], keep: boolean): void {
    if (keep) passed.push(...this.#held);
    this.#held = [];
    this.#heldBytes = 0;
    this.#passing = false;
  }

  /** Whether the event that ends with `rest` is the one to take out. */
  #isWanted(rest: Buffer): boolean {
    if (this.#passing || this.#heldBytes + rest.length > MAX_HELD_BYTES) return false;
    return isUsageChunk(this.#held.length === 0 ? rest : Buffer.concat([...this.#held, rest]));
  }
}

const EMPTY = Buffer.alloc(0);

/** `event` is a whole one, or as much as came before the end of the stream. */
function isUsageChunk(event: Buffer): boolean {
  if (!hasEmptyChoices(event)) return false;
  let found = false;
  const splitter = new SseSplitter((_name, data) => (found = holdsUsageAlone(data)));
  splitter.push(event);
  splitter.end();
  return found;
}

function holdsUsageAlone(data: Buffer): boolean {
  const cursor = new JsonCursor(data);
  if (!cursor.enterObject()) return false;
  let noChoices = false;
  let usage = false;
  for (let key = cursor.nextKey(); key !== null; key = cursor.nextKey()) {
    const value = cursor.skipValue();
    if (value === null) return false;
    // An error, or choices: no need to read on.
    if (key === 'error') return false;
    if (key === 'choices' && !(noChoices = isEmptyArray(value))) return false;
    if (key === 'usage') usage = value[0] === 0x7b;
  }
  return noChoices && usage && cursor.ended;
}

/**
 * Whether `"choices": []` stands anywhere: true of next to no other chunk, and told natively. Inside
 * of a string the quotes would be escaped.
 */
function hasEmptyChoices(event: Buffer): boolean {
  for (let at = event.indexOf(CHOICES); at !== -1; at = event.indexOf(CHOICES, at + 1)) {
    const rest = event.toString('latin1', at + CHOICES.length, at + CHOICES.length + 32);
    if (/^\s*(?::\s*(?:\[\s*(?:\]|$)|$)|$)/.test(rest)) return true;
  }
  return false;
}

function lineEnd(bytes: Buffer, from: number): number {
  let at = from;
  while (at < bytes.length && bytes[at] !== LF && bytes[at] !== CR) at++;
  return at;
}

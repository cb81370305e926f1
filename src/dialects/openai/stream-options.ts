/**
 * A stream of Chat Completions or Completions states its usage only where the request asks for it.
 * Where the client did not, these few bytes ask in its place, and nothing else of the body changes:
 * it is never written anew, for its bytes are the client's.
 */
import { isUtf8 } from 'node:buffer';
import type { HeaderFields } from '../dialect.js';
import { afterSpace, JsonCursor } from '../json.js';
import { isEncoded } from '../request-body.js';

const COMPLETIONS_END = /\/completions\/*$/i;

/** More keys than any client sends; a body of another kind is left alone. */
const MOST_KEYS = 256;

const OPTION = '"include_usage":true';

/** A few bytes in the place of others: `removed` bytes at `at` give way to `text`. */
interface Edit {
  readonly at: number;
  readonly removed: number;
  readonly text: string;
}

export interface AskedUsage {
  readonly body: Buffer;
  /** The body as it came, made of this one. */
  readonly undo: (body: Buffer) => Buffer;
}

/**
 * The body with `stream_options.include_usage` true, or null for one that is left alone: it streams
 * nothing, asks already, is no plain JSON object in UTF-8, or could be read in two ways (a key twice
 * or with an escape in it).
 */
export function askForUsage(path: string, headers: HeaderFields, body: Buffer): AskedUsage | null {
  if (!COMPLETIONS_END.test(path) || isEncoded(headers)) return null;
  const members = membersOf(body, 0, body.length);
  const stream = members?.get('stream');
  if (members == null || stream === undefined || textAt(body, stream) !== 'true') return null;
  const options = members.get('stream_options');
  const edit =
    options === undefined
      ? { at: stream.end, removed: 0, text: `,"stream_options":{${OPTION}}` }
      : editOptions(body, options);
  if (edit === null || !isUtf8(body)) return null;
  return { body: applied(body, edit), undo: undoing(inverseOf(edit, body)) };
}

/** The client's own options; it may have set others, or said null or false. */
function editOptions(body: Buffer, options: Span): Edit | null {
  if (textAt(body, options) === 'null') {
    return { at: options.start, removed: options.end - options.start, text: `{${OPTION}}` };
  }
  const members = membersOf(body, options.start, options.end);
  if (members === null) return null;
  const asked = members.get('include_usage');
  if (asked === undefined) {
    const text = members.size === 0 ? OPTION : `${OPTION},`;
    return { at: options.start + 1, removed: 0, text };
  }
  const said = textAt(body, asked);
  if (said !== 'false' && said !== 'null') return null;
  return { at: asked.start, removed: asked.end - asked.start, text: 'true' };
}

function inverseOf({ at, removed, text }: Edit, body: Buffer): Edit {
  return { at, removed: text.length, text: body.toString('latin1', at, at + removed) };
}

/** A function of its own, which holds no body. */
function undoing(edit: Edit): (body: Buffer) => Buffer {
  return (body) => applied(body, edit);
}

function applied(body: Buffer, { at, removed, text }: Edit): Buffer {
  return Buffer.concat([body.subarray(0, at), Buffer.from(text), body.subarray(at + removed)]);
}

interface Span {
  readonly start: number;
  readonly end: number;
}

/**
 * Where the values of the object's members lie; null if it is not one object and nothing else, or if
 * two readers could disagree about its keys.
 */
function membersOf(bytes: Buffer, start: number, end: number): ReadonlyMap<string, Span> | null {
  const part = bytes.subarray(start, end);
  const cursor = new JsonCursor(part);
  if (!cursor.enterObject()) return null;
  const members = new Map<string, Span>();
  for (let key = cursor.nextKey(); key !== null; key = cursor.nextKey()) {
    const value = cursor.skipValue();
    if (value === null) return null;
    if (key.includes('\\') || members.has(key) || members.size === MOST_KEYS) return null;
    const valueEnd = start + cursor.position;
    members.set(key, { start: valueEnd - value.length, end: valueEnd });
  }
  if (!cursor.ended) return null;
  return afterSpace(part, cursor.position + 1) === part.length ? members : null;
}

/** Words are what is looked for, so a longer value is told apart by its first letters. */
function textAt(bytes: Buffer, { start, end }: Span): string {
  return bytes.toString('latin1', start, Math.min(end, start + 16));
}

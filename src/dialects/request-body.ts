import { crc32 } from 'node:zlib';
import { cleanName } from './clean-name.js';
import type { HeaderFields, RequestFacts } from './dialect.js';
import { eachText, JsonCursor, lastMember, parseJson } from './json.js';

/**
 * How much of a body is walked. All of it takes 0.1 to 0.4 ms, and 1.3 ms for bytes made to be
 * slow.
 */
export interface Reach {
  readonly headBytes: number;
  readonly tailBytes: number;
}

/**
 * Most clients write `model` first. Some SDKs write it behind the messages, which may be of any
 * size, and before the tools, which are some tens of KiB: hence a look from the end.
 */
export const REACH: Reach = { headBytes: 262_144, tailBytes: 131_072 };

/** Where an API keeps what tells one conversation from another. */
export interface ConversationShape {
  /** Keys of the messages: the history, oldest first. */
  readonly history: readonly string[];
  /** Key of the system prompt, where that stands apart. */
  readonly preamble: string;
  /** The keys above and `model`: all that is looked for in a body. */
  readonly keys: readonly string[];
  /**
   * The part of the history at `at` by which the conversation begins; null if it does not end
   * within `bytes`.
   */
  opening(bytes: Buffer, at: number): Buffer | null;
}

const MAX_MODEL = 100;
/** Bytes of a name with its quotes and escapes. */
const MAX_QUOTED = 1024;
const MAX_SESSION = 200;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const SEPARATOR = Buffer.from('\0');
const MODEL = ['model'];

/**
 * What makes a message this conversation's. Left out with all the rest is `cache_control`, which
 * clients move from the first message to the last as the conversation grows.
 */
const SPOKEN_KEYS = ['text', 'content', 'data'];

/** Whether the client encoded the body; it can't be read then, for it may grow a thousandfold. */
export function isEncoded(headers: HeaderFields): boolean {
  const coding = (headers.get('content-encoding') ?? '').trim().toLowerCase();
  return coding !== '' && coding !== 'identity';
}

/** A session that a client named, as a key of bounded length. */
export function sessionNamed(name: string): string {
  return name.length <= MAX_SESSION ? name : digest([Buffer.from(name)]);
}

/**
 * The conversation is told by its model, its system prompt if that stands before the messages, and
 * how its messages begin. What follows changes from turn to turn, and an opening that does not end
 * within reach is not told apart by its own beginning: two conversations taken for one make the
 * second look cheap, while a conversation without a name merely looks expensive.
 * `shape` null: the session is not asked for.
 */
export function readBody(
  body: Buffer,
  shape: ConversationShape | null,
  reach: Reach = REACH,
): RequestFacts {
  const head = body.subarray(0, reach.headBytes);
  const cursor = new JsonCursor(head);
  const keys = shape?.keys ?? MODEL;
  let model: string | null = null;
  let preamble: Buffer | null = null;
  let opening: Buffer | null = null;
  if (!cursor.enterObject()) return { model: '', session: '' };
  for (let key = cursor.nextOf(keys); key !== null; key = cursor.nextOf(keys)) {
    if (shape?.history.includes(key)) {
      opening = shape.opening(head, cursor.position);
      if (model !== null) break;
    }
    const value = cursor.skipValue();
    if (value === null) break;
    if (key === 'model') model = modelOf(value);
    else if (key === shape?.preamble && opening === null) preamble = value;
    if (model !== null && (opening !== null || shape === null)) break;
  }
  if (model === null) {
    const value = lastMember(body.subarray(-reach.tailBytes), 'model');
    if (value !== null) model = modelOf(value);
  }
  const session = opening === null ? '' : hashed(model ?? '', preamble, opening);
  return { model: model ?? '', session };
}

/** A model's name as a key of bounded length. */
export function modelNamed(name: string): string {
  return cleanName(name, MAX_MODEL);
}

function modelOf(value: Buffer): string {
  if (value[0] !== QUOTE || value.length > MAX_QUOTED) return '';
  // There is one with each request, and to parse it costs more than to copy it.
  if (!value.includes(BACKSLASH)) return modelNamed(value.toString('utf8', 1, value.length - 1));
  const parsed = parseJson(value.toString());
  return typeof parsed === 'string' ? modelNamed(parsed) : '';
}

/** Empty if nothing was said that could tell this conversation from another. */
function hashed(model: string, preamble: Buffer | null, opening: Buffer): string {
  const spoken = [Buffer.from(model)];
  if (preamble !== null) addSpoken(spoken, preamble);
  return addSpoken(spoken, opening) ? digest(spoken) : '';
}

function addSpoken(spoken: Buffer[], value: Buffer): boolean {
  let any = false;
  spoken.push(SEPARATOR);
  eachText(value, SPOKEN_KEYS, (start, end) => {
    spoken.push(value.subarray(start, end), SEPARATOR);
    any ||= end > start;
  });
  return any;
}

/**
 * A checksum and the length: a key for a hint, which costs a tenth of what a cryptographic hash does. Two of
 * the two thousand conversations that are remembered share one by chance once in two thousand times.
 */
function digest(parts: readonly Buffer[]): string {
  let checksum = 0;
  let length = 0;
  for (const part of parts) {
    checksum = crc32(part, checksum);
    length += part.length;
  }
  return `${checksum.toString(36)}.${length.toString(36)}`;
}

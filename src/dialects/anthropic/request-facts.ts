import { hash } from 'node:crypto';
import type { HeaderFields, RequestFacts } from '../dialect.js';
import { eachText, JsonCursor, lastMember, parseJson } from '../json.js';

/**
 * How much of a body is walked. All of it takes 0.1 to 0.4 ms, and 1.3 ms for bytes made to be
 * slow.
 */
export interface Reach {
  readonly headBytes: number;
  readonly tailBytes: number;
}

/**
 * Most clients write `model` first. The Python SDK writes it behind the messages, which may be of
 * any size, and before `system` and `tools`, which are some tens of KiB: hence a look from the end.
 */
const REACH: Reach = { headBytes: 262_144, tailBytes: 131_072 };

const MAX_MODEL = 100;
const MAX_SESSION = 200;
const HASH_CHARACTERS = 16;
const SEPARATOR = Buffer.from('\0');

/**
 * What makes a first message this conversation's. Left out with all the rest is `cache_control`,
 * which clients move from the first message to the last as the conversation grows.
 */
const SPOKEN_KEYS = ['text', 'content', 'data'].map((key) => Buffer.from(key));

/**
 * See `Dialect.readRequest`; wire facts §2 names the headers of a session. `reach` is for tests.
 */
export function readRequest(headers: HeaderFields, body: Buffer, reach = REACH): RequestFacts {
  const named = namedSession(headers);
  const coding = (headers.get('content-encoding') ?? '').trim().toLowerCase();
  // A body that is still encoded can't be read here: it may grow a thousandfold on decoding.
  if (coding !== '' && coding !== 'identity') return { model: '', session: named ?? '' };
  const facts = readBody(body, reach, named === null);
  return { model: facts.model, session: named ?? facts.session };
}

/** An agent started within a session has a conversation of its own. */
function namedSession(headers: HeaderFields): string | null {
  const session = headers.get('x-claude-code-session-id');
  if (session === undefined || session === '') return null;
  const agent = headers.get('x-claude-code-agent-id');
  const name = agent === undefined || agent === '' ? session : `${session}/${agent}`;
  return name.length <= MAX_SESSION ? name : digest([Buffer.from(name)]);
}

/**
 * The conversation is told by its model, its system prompt if that stands before the messages, and
 * its first message, all of it. What follows the first message changes from turn to turn, and a
 * first message that does not end within reach is not told apart by its beginning: two
 * conversations taken for one make the second look cheap, while a conversation without a name
 * merely looks expensive.
 */
function readBody(body: Buffer, reach: Reach, wantsSession: boolean): RequestFacts {
  const head = body.subarray(0, reach.headBytes);
  const cursor = new JsonCursor(head);
  let model: string | null = null;
  let system: Buffer | null = null;
  let first: Buffer | null = null;
  if (!cursor.enterObject()) return { model: '', session: '' };
  for (let key = cursor.nextKey(); key !== null; key = cursor.nextKey()) {
    if (key === 'messages') {
      first = firstElement(head, cursor.position);
      if (model !== null) break;
    }
    const value = cursor.skipValue();
    if (value === null) break;
    if (key === 'model') model = modelOf(value);
    else if (key === 'system' && first === null) system = value;
    if (model !== null && (first !== null || !wantsSession)) break;
  }
  if (model === null && !cursor.ended) {
    const value = lastMember(body.subarray(-reach.tailBytes), 'model');
    if (value !== null) model = modelOf(value);
  }
  const session = wantsSession && first !== null ? hashed(model ?? '', system, first) : '';
  return { model: model ?? '', session };
}

function firstElement(head: Buffer, at: number): Buffer | null {
  const cursor = new JsonCursor(head, at);
  return cursor.enterArray() ? cursor.skipValue() : null;
}

function modelOf(value: Buffer): string {
  const parsed = parseJson(value.toString('utf8', 0, Math.min(value.length, 1024)));
  return typeof parsed === 'string' ? parsed.slice(0, MAX_MODEL) : '';
}

/** Empty if nothing was said that could tell this conversation from another. */
function hashed(model: string, system: Buffer | null, first: Buffer): string {
  const spoken = [Buffer.from(model)];
  if (system !== null) addSpoken(spoken, system);
  return addSpoken(spoken, first) ? digest(spoken) : '';
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

/** At once over all parts: a hash object costs as much as hashing 5 KB. */
function digest(parts: readonly Buffer[]): string {
  const whole = parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
  return hash('sha256', whole, 'base64url').slice(0, HASH_CHARACTERS);
}

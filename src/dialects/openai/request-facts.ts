import type { HeaderFields, RequestFacts } from '../dialect.js';
import { JsonCursor, parseJson } from '../json.js';
import {
  isEncoded,
  modelNamed,
  REACH,
  readBody,
  sessionNamed,
  type ConversationShape,
} from '../request-body.js';

/**
 * Chat Completions, Responses, Embeddings and the old Completions spend the limits, wherever a
 * provider puts them: `/v1/chat/completions`, `/openai/deployments/{name}/chat/completions`,
 * `/v1beta/openai/chat/completions`, `/api/v1/responses`. So the path's end decides. Letters of
 * either case, because Azure's gateway takes both: metering one request that fails costs nothing,
 * and one that passes unmetered is the mistake this exists to prevent.
 */
const METERED_END = /\/(?:completions|responses|responses\/+compact|embeddings)\/*$/i;

const DEPLOYMENT = /\/deployments\/+([^/]+)\//i;

/** Headers by which clients name a conversation: Codex the first two, OpenRouter's the third. */
const SESSION_HEADERS = ['session-id', 'session_id', 'x-session-id'];

/** A system prompt stands first in every conversation of an agent, and tells none from another. */
const SYSTEM_ROLES = new Set<unknown>(['system', 'developer']);
/** Messages before the first that is not the system's. */
const MOST_SYSTEM_MESSAGES = 16;

/**
 * `messages` of Chat Completions and `input` of Responses, which may be a text. The conversation
 * begins with everything up to the first message that is not the system's.
 */
const TURNS: ConversationShape = {
  history: ['messages', 'input'],
  preamble: 'instructions',
  keys: ['model', 'instructions', 'messages', 'input'],
  opening(bytes, at) {
    const cursor = new JsonCursor(bytes, at);
    if (!cursor.enterArray()) return cursor.skipValue();
    const start = cursor.position;
    for (let messages = 0; messages <= MOST_SYSTEM_MESSAGES; messages++) {
      const message = cursor.skipValue();
      if (message === null) return null;
      if (!isSystem(message)) return bytes.subarray(start, cursor.position);
    }
    return null;
  },
};

export function isMetered(method: string, path: string | null): boolean {
  return method === 'POST' && (path === null || METERED_END.test(path));
}

/**
 * See `Dialect.readRequest`. On Azure the path names the deployment, and the body may leave the
 * model out. The session is one that a client's header names, else the way the conversation begins.
 * `user`, `safety_identifier` and `prompt_cache_key` name a person or a prompt that many
 * conversations share, and `previous_response_id` another one with each turn: none of them can
 * stand for a conversation.
 */
export function readRequest(
  headers: HeaderFields,
  body: Buffer,
  path: string,
  reach = REACH,
): RequestFacts {
  const named = namedSession(headers);
  const facts = isEncoded(headers)
    ? { model: '', session: '' }
    : readBody(body, named === null ? TURNS : null, reach);
  const model = facts.model === '' ? modelNamed(DEPLOYMENT.exec(path)?.[1] ?? '') : facts.model;
  return { model, session: named ?? facts.session };
}

function namedSession(headers: HeaderFields): string | null {
  for (const header of SESSION_HEADERS) {
    const name = headers.get(header) ?? '';
    if (name !== '') return sessionNamed(name);
  }
  return null;
}

const ROLE = ['role'];

function isSystem(message: Buffer): boolean {
  const cursor = new JsonCursor(message);
  if (!cursor.enterObject()) return false;
  const role = cursor.nextOf(ROLE) === null ? null : cursor.skipValue();
  return role !== null && SYSTEM_ROLES.has(parseJson(role.toString()));
}

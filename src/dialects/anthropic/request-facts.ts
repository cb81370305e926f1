import type { HeaderFields, RequestFacts } from '../dialect.js';
import { JsonCursor } from '../json.js';
import {
  isEncoded,
  REACH,
  readBody,
  sessionNamed,
  type ConversationShape,
} from '../request-body.js';

const MESSAGES: ConversationShape = {
  history: ['messages'],
  preamble: 'system',
  keys: ['model', 'system', 'messages'],
  opening(bytes, at) {
    const cursor = new JsonCursor(bytes, at);
    return cursor.enterArray() ? cursor.skipValue() : null;
  },
};

/**
 * See `Dialect.readRequest`; wire facts §2 names the headers of a session. `reach` is for tests.
 */
export function readRequest(headers: HeaderFields, body: Buffer, reach = REACH): RequestFacts {
  const named = namedSession(headers);
  if (isEncoded(headers)) return { model: '', session: named ?? '' };
  const facts = readBody(body, named === null ? MESSAGES : null, reach);
  return { model: facts.model, session: named ?? facts.session };
}

/** An agent started within a session has a conversation of its own. */
function namedSession(headers: HeaderFields): string | null {
  const session = headers.get('x-claude-code-session-id');
  if (session === undefined || session === '') return null;
  const agent = headers.get('x-claude-code-agent-id');
  return sessionNamed(agent === undefined || agent === '' ? session : `${session}/${agent}`);
}

import type { IncomingMessage } from 'node:http';
import type { HeaderRecord } from '../dialects/header-fields.js';

/** Names and values in turn, as Node and undici take and give them. */
export type RawHeaders = string[];

/** Meant for one connection only, never for the next (RFC 9110 §7.6.1). */
const HOP_BY_HOP = new Set([
  'connection',
  'proxy-connection',
  'keep-alive',
  'te',
  'transfer-encoding',
  'upgrade',
  'trailer',
  'proxy-authenticate',
  'proxy-authorization',
]);

/** Ours to say, or said anew for the next connection. `expect` was answered by our own server. */
const REPLACED_IN_REQUESTS = new Set(['host', 'content-length', 'expect', 'via']);

const OWN_PREFIX = 'tidegate-';

/**
 * The request's headers for the upstream: order, case and repetition kept, hop-by-hop ones gone, our
 * name added to Via. `contentLength`: the client's own, for a body that is streamed on.
 */
export function requestHeaders(
  { rawHeaders: raw, headers, httpVersion }: RequestHead,
  options: {
    readonly pseudonym: string;
    readonly contentLength: string | undefined;
    /** The answer is to come without coding, whatever the client takes. */
    readonly plainAnswer: boolean;
  },
): RawHeaders {
  const named = namedBy(headers.connection);
  const passed: RawHeaders = [];
  const via: string[] = [];
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] as string;
    const value = raw[index + 1] as string;
    const lower = name.toLowerCase();
    if (lower === 'via') via.push(value);
    if (HOP_BY_HOP.has(lower) || REPLACED_IN_REQUESTS.has(lower) || named?.has(lower)) continue;
    // An agent can't speak for the governor.
    if (lower.startsWith(OWN_PREFIX)) continue;
    if (options.plainAnswer && lower === 'accept-encoding') continue;
    passed.push(name, value);
  }
  if (options.plainAnswer) passed.push('accept-encoding', 'identity');
  if (options.contentLength !== undefined) passed.push('content-length', options.contentLength);
  via.push(`${httpVersion} ${options.pseudonym}`);
  passed.push('via', via.join(', '));
  return passed;
}

/** Read twice, as Node gives it: with and without order, case and repetition. */
export type RequestHead = Pick<IncomingMessage, 'rawHeaders' | 'headers' | 'httpVersion'>;

/**
 * The answer's headers for the client, out of both forms in which undici gives them. A length beside a
 * transfer coding is not to be believed, nor one of a body of which some is taken out (`isFiltered`).
 */
export function responseHeaders(
  raw: readonly (string | Buffer)[],
  headers: HeaderRecord,
  isFiltered: boolean,
): RawHeaders {
  const named = namedBy(headers['connection']);
  const hasLength = !isFiltered && headers['transfer-encoding'] === undefined;
  const passed: RawHeaders = [];
  for (let index = 0; index < raw.length; index += 2) {
    const name = textOf(raw[index]);
    const lower = name.toLowerCase();
    if (HOP_BY_HOP.has(lower) || named?.has(lower)) continue;
    if (lower !== 'content-length' || hasLength) passed.push(name, textOf(raw[index + 1]));
  }
  return passed;
}

function textOf(part: string | Buffer | undefined): string {
  return typeof part === 'string' ? part : (part?.toString('latin1') ?? '');
}

/** undici undoes chunked, and nothing else was asked for: what is left coded can't be passed on. */
export function undoesCoding(transferEncoding: string | readonly string[] | undefined): boolean {
  return /^(chunked|identity)?$/i.test(String(transferEncoding ?? ''));
}

/**
 * Whether an answer is framed by nothing but the end of its connection (RFC 9112 §6.3). `method`: of
 * its request.
 */
export function isOpenEnded(
  method: string | undefined,
  status: number,
  headers: Readonly<Record<string, unknown>>,
): boolean {
  if (method === 'HEAD' || status === 204 || status === 304) return false;
  if (headers['content-length'] !== undefined) return false;
  return !/^chunked$/i.test(String(headers['transfer-encoding'] ?? ''));
}

/**
 * The reason phrase for the client. undici has read its bytes as UTF-8; what can't be said again is
 * left out, for nobody may rely on it (RFC 9112 §4).
 */
export function reasonOf(text: string): string {
  // ASCII is the same either way, and nearly always all there is.
  if (/^[\t -~]*$/.test(text)) return text;
  const bytes = Buffer.from(text).toString('latin1');
  return text.includes('\ufffd') || /[^\t -~\u0080-\u00ff]/.test(bytes) ? '' : bytes;
}

/** What `Connection` names is hop-by-hop too; null, the common case, if it names nothing unusual. */
function namedBy(connection: HeaderRecord[string]): Set<string> | null {
  if (connection === undefined) return null;
  const names = String(connection)
    .split(',')
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== '' && name !== 'keep-alive' && name !== 'close');
  return names.length === 0 ? null : new Set(names);
}

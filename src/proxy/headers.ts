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
const CONNECTION = 'connection';

/**
 * The request's headers for the upstream: order, case and repetition kept, hop-by-hop ones gone, our
 * name added to Via. `contentLength`: the client's own, for a body that is streamed on.
 */
export function requestHeaders(
  raw: readonly string[],
  options: {
    readonly pseudonym: string;
    readonly contentLength: string | undefined;
    readonly httpVersion: string;
    /** The answer is to come without coding, whatever the client takes. */
    readonly plainAnswer?: boolean;
  },
): RawHeaders {
  const named = namedByConnection(raw);
  const headers: RawHeaders = [];
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
    headers.push(name, value);
  }
  if (options.plainAnswer) headers.push('accept-encoding', 'identity');
  if (options.contentLength !== undefined) headers.push('content-length', options.contentLength);
  via.push(`${options.httpVersion} ${options.pseudonym}`);
  headers.push('via', via.join(', '));
  return headers;
}

/** The answer's headers for the client. A length beside a transfer coding is not to be believed. */
export function responseHeaders(raw: readonly (string | Buffer)[]): RawHeaders {
  const text = raw.map((part) => (typeof part === 'string' ? part : part.toString('latin1')));
  const named = namedByConnection(text);
  const chunked = hasName(text, 'transfer-encoding');
  const headers: RawHeaders = [];
  for (let index = 0; index < text.length; index += 2) {
    const name = text[index] as string;
    const lower = name.toLowerCase();
    if (HOP_BY_HOP.has(lower) || named?.has(lower)) continue;
    if (chunked && lower === 'content-length') continue;
    headers.push(name, text[index + 1] as string);
  }
  return headers;
}

/** Without the length, for a body of which some is taken out. */
export function withoutLength(headers: RawHeaders): RawHeaders {
  return headers.filter(
    (_part, index) => headers[index - (index % 2)]?.toLowerCase() !== 'content-length',
  );
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

function hasName(raw: readonly string[], wanted: string): boolean {
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] as string;
    if (name.length === wanted.length && name.toLowerCase() === wanted) return true;
  }
  return false;
}

/** What `Connection` names is hop-by-hop too; null, the common case, if it names nothing unusual. */
function namedByConnection(raw: readonly string[]): Set<string> | null {
  let named: Set<string> | null = null;
  for (let index = 0; index < raw.length; index += 2) {
    const field = raw[index] as string;
    if (field.length !== CONNECTION.length || field.toLowerCase() !== CONNECTION) continue;
    for (const token of (raw[index + 1] ?? '').split(',')) {
      const name = token.trim().toLowerCase();
      if (name === '' || name === 'keep-alive' || name === 'close') continue;
      named ??= new Set();
      named.add(name);
    }
  }
  return named;
}

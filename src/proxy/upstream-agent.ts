import { Agent, ProxyAgent, type Dispatcher } from 'undici';

/** Longest wait for a connection to the upstream. */
const CONNECT_MS = 10_000;
/** An idle connection is closed before most servers close it, so that few die under a request. */
const KEEP_ALIVE_MS = 30_000;
const MAX_HEADER_BYTES = 65_536;

export interface UpstreamAgentOptions {
  /** Longest wait for the upstream's response headers, in ms. */
  readonly timeoutMs: number;
  /** Connections go through it, with the user and password of its URL; null: there is none. */
  readonly proxy: URL | null;
}

/**
 * HTTP/1.1 only: headers pass as they were sent. A body has no timeout, for a model may think for
 * minutes between two bytes.
 */
export function agentSettings(headersTimeoutMs: number) {
  return {
    allowH2: false,
    pipelining: 1,
    bodyTimeout: 0,
    headersTimeout: headersTimeoutMs,
    keepAliveTimeout: KEEP_ALIVE_MS,
    maxHeaderSize: MAX_HEADER_BYTES,
    connectTimeout: CONNECT_MS,
  };
}

/** Connections to the upstream; redirects are the client's business. */
export function openUpstreamAgent(options: UpstreamAgentOptions): Dispatcher {
  const settings = agentSettings(options.timeoutMs);
  if (options.proxy === null) return new Agent(settings);
  // Without a tunnel undici would drop these settings, and send every request over one connection.
  const agent = new ProxyAgent({ ...settings, uri: options.proxy.href, proxyTunnel: true });
  return agent.compose(
    (dispatch) => (request, handler) =>
      dispatch({ ...request, headers: grouped(request.headers as readonly string[]) }, handler),
  );
}

/** The same, but no request goes out on a connection that another has used: its server may be closing it. */
export function openFreshAgent(options: UpstreamAgentOptions): Dispatcher {
  const agent = openUpstreamAgent(options);
  return agent.compose(
    (dispatch) => (request, handler) => dispatch({ ...request, reset: true }, handler),
  );
}

/** The proxy agent keeps one line of a header that is repeated, unless the lines stand together. */
function grouped(headers: readonly string[]): Record<string, string[]> {
  const lines: Record<string, string[]> = Object.create(null);
  for (let index = 0; index < headers.length; index += 2) {
    (lines[headers[index] as string] ??= []).push(headers[index + 1] as string);
  }
  return lines;
}

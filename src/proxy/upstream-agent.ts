import { Agent, EnvHttpProxyAgent, type Dispatcher } from 'undici';

/** Longest wait for a connection to the upstream. */
const CONNECT_MS = 10_000;
/** An idle connection is closed before most servers close it, so that few die under a request. */
const KEEP_ALIVE_MS = 30_000;
const MAX_HEADER_BYTES = 65_536;

export interface UpstreamAgentOptions {
  /** Longest wait for the upstream's response headers, in ms. */
  readonly headersTimeoutMs: number;
  /** `HTTPS_PROXY`, `HTTP_PROXY` or their lower-case forms are set: connections go through them. */
  readonly viaProxy: boolean;
}

/**
 * Connections to the upstream. HTTP/1.1 only: headers pass as they were sent. A body has no timeout,
 * for a model may think for minutes between two bytes; redirects are the client's business.
 */
export function openUpstreamAgent(options: UpstreamAgentOptions): Dispatcher {
  const settings = {
    allowH2: false,
    pipelining: 1,
    bodyTimeout: 0,
    headersTimeout: options.headersTimeoutMs,
    keepAliveTimeout: KEEP_ALIVE_MS,
    maxHeaderSize: MAX_HEADER_BYTES,
    connect: { timeout: CONNECT_MS },
  };
  return options.viaProxy ? new EnvHttpProxyAgent(settings) : new Agent(settings);
}

import type { LocalProblem } from '../dialects/dialect.js';

/** The upstream gave no answer that can be relayed. */
export interface NoAnswer {
  readonly error: Error;
  /** The request had gone out, or begun to. */
  readonly sent: boolean;
}

export type UpstreamFailure = Pick<LocalProblem, 'kind' | 'message'> & { readonly code: string };

export function failureOf(
  { error, sent }: NoAnswer,
  upstream: { readonly url: URL; readonly timeoutMs: number; readonly proxy: URL | null },
): UpstreamFailure {
  const { url, proxy } = upstream;
  // undici says it in its message only.
  const [, status] = (proxy && /^Proxy response \((\d+)\)/.exec(error.message)) ?? [];
  const own = (error as { code?: string }).code ?? error.name;
  const code = status === undefined ? own : `PROXY_${status}`;
  switch (code) {
    case 'UND_ERR_INVALID_ARG':
    case 'UND_ERR_NOT_SUPPORTED':
      return { kind: 'bad-request', message: 'the request cannot be said in HTTP/1.1', code };
    case 'UND_ERR_HEADERS_TIMEOUT': {
      const message = `the upstream sent no answer within ${upstream.timeoutMs / 1000} s`;
      return { kind: 'upstream-silent', message, code };
    }
    default: {
      const what = sent ? 'gave no valid answer' : "can't be reached";
      const by = proxy === null ? '' : ` through the proxy ${proxy.host}`;
      const why = status === undefined ? code : `the proxy answers ${status}`;
      const message = `the upstream ${url.host} ${what}${by} (${why})`;
      return { kind: 'upstream-unreachable', message, code };
    }
  }
}

/**
 * Worth one more try: an idle connection was reset just when it was to be used again. undici tries
 * again by itself where the connection was closed in good order.
 */
export function diedIdle({ error, sent }: NoAnswer): boolean {
  const { code } = error as { code?: string };
  return !sent && (code === 'ECONNRESET' || code === 'EPIPE');
}

import { ANTHROPIC } from '../../src/dialects/anthropic/anthropic-dialect.js';
import type { Dialect } from '../../src/dialects/dialect.js';
import { SILENT_LOG } from '../../src/platform/log.js';
import { UpstreamProxy, type UpstreamProxyOptions } from '../../src/proxy/upstream-proxy.js';
import { SCOPE, type Town } from '../governor/support.js';

export const LONGEST_MS = 60_000;

/** The proxy on real sockets, once it listens; the governor and all timers are the town's. */
export function proxyTo(
  upstreamUrl: string,
  { governor, time }: Town,
  dialect: Dialect = ANTHROPIC,
  others: Partial<UpstreamProxyOptions> = {},
): UpstreamProxy {
  return new UpstreamProxy({
    routes: [
      {
        name: 'api',
        url: new URL(upstreamUrl),
        proxy: null,
        listen: { host: '127.0.0.1', port: 0 },
        dialect,
        timeoutMs: LONGEST_MS,
        scopeOf: () => SCOPE,
        onOrganization: null,
      },
    ],
    governor,
    observe: false,
    maxRetryAfterMs: LONGEST_MS,
    timers: time,
    now: () => time.wall(),
    onDate: () => {},
    onRefused: () => {},
    onAccess: null,
    log: SILENT_LOG,
    ...others,
  });
}

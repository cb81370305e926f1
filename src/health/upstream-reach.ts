import { Inject, Injectable } from '@nestjs/common';
import {
  type HealthIndicatorFunction,
  type HealthIndicatorResult,
  HealthIndicatorService,
  HttpHealthIndicator,
} from '@nestjs/terminus';
import { CONFIG, type Config, type UpstreamConfig } from '../config/config.js';

/** Longest wait for an upstream to answer at all. */
const REACH_MS = 5_000;
/** Only a proxy asks for this. */
const PROXY_AUTHENTICATION = 407;

/** Whether the upstreams answer anything: even 401 or 404 proves name, route, TLS and listener. */
@Injectable()
export class UpstreamReach {
  constructor(
    @Inject(CONFIG) private readonly config: Config,
    @Inject(HttpHealthIndicator) private readonly http: HttpHealthIndicator,
    @Inject(HealthIndicatorService) private readonly results: HealthIndicatorService,
  ) {}

  indicators(): HealthIndicatorFunction[] {
    return this.config.upstreams.map((upstream) => () => this.#reach(upstream));
  }

  async #reach({ name, url, proxy }: UpstreamConfig): Promise<HealthIndicatorResult> {
    const key = `upstream:${name}`;
    let refused: number | null = null;
    const result = await this.http.responseCheck(
      key,
      url.origin,
      ({ status, request }) => {
        if (proxy !== null && isOfProxy(status, url, request)) refused = status;
        return refused === null;
      },
      {
        timeout: REACH_MS,
        maxRedirects: 0,
        validateStatus: () => true,
        // The way that requests take; axios has rules of its own for what the environment says.
        proxy: proxy === null ? false : axiosProxy(proxy),
      },
    );
    if (refused === null) return result;
    return this.results.check(key).down({
      message: `the proxy ${proxy?.host} answers ${refused}, and lets nothing through to ${url.host}`,
    });
  }
}

/** What a proxy says in place of a tunnel passes for an answer; only what came by TLS is the upstream's. */
function isOfProxy(status: number, { protocol }: URL, request: unknown): boolean {
  if (status === PROXY_AUTHENTICATION) return true;
  const { socket } = request as { readonly socket?: { readonly encrypted?: boolean } | null };
  return protocol === 'https:' && socket?.encrypted !== true;
}

function axiosProxy({ protocol, hostname, port, username, password }: URL) {
  const [user, secret] = [decodeURIComponent(username), decodeURIComponent(password)];
  return {
    protocol,
    host: hostname.replace(/^\[|\]$/g, ''),
    port: port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port),
    ...(user === '' ? {} : { auth: { username: user, password: secret } }),
  };
}

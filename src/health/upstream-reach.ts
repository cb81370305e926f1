import { Inject, Injectable } from '@nestjs/common';
import { type HealthIndicatorFunction, HttpHealthIndicator } from '@nestjs/terminus';
import { CONFIG, type Config } from '../config/config.js';

/** Longest wait for an upstream to answer at all. */
const REACH_MS = 5_000;

/** Whether the upstreams answer anything: even 401 or 404 proves name, route, TLS and listener. */
@Injectable()
export class UpstreamReach {
  constructor(
    @Inject(CONFIG) private readonly config: Config,
    @Inject(HttpHealthIndicator) private readonly http: HttpHealthIndicator,
  ) {}

  indicators(): HealthIndicatorFunction[] {
    return this.config.upstreams.map(
      ({ name, url }) =>
        () =>
          this.http.responseCheck(`upstream:${name}`, url.origin, () => true, {
            timeout: REACH_MS,
            maxRedirects: 0,
            validateStatus: () => true,
          }),
    );
  }
}

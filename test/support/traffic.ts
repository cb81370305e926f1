import { readFileSync } from 'node:fs';

/** One request of a real or made-up session; the fields of a trace file, one JSON object a line. */
export interface TracedRequest {
  readonly session: string;
  /** Seconds since the session began. */
  readonly t: number;
  readonly model: string;
  /** Tokens not read from the cache: what a limit counts. */
  readonly input: number;
  readonly cacheRead: number;
  readonly output: number;
  /** How long the upstream took. */
  readonly seconds: number;
}

export function readTrace(path: string): TracedRequest[] {
  return readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as TracedRequest);
}

/** Median, P90 and P99 of what real sessions of a coding agent ask and get. */
const APPENDED = [667, 4_171, 54_199] as const;
const OUTPUT = [206, 806, 3_432] as const;
const GAP_SECONDS = [16, 104, 1_567] as const;
const SERVICE_SECONDS = [5.1, 15.8, 52] as const;
const FIRST_PROMPT = [24_775, 60_000, 137_529] as const;

/** Sessions with the shapes of real ones; the same for the same seed. */
export function makeTraffic(sessions: number, requests: number, seed: number): TracedRequest[] {
  const random = generator(seed);
  const draw = (quantiles: readonly [number, number, number]) => quantile(quantiles, random());
  return Array.from({ length: sessions }, (_, index) => {
    let context = 0;
    let t = 0;
    return Array.from({ length: requests }, (): TracedRequest => {
      const input = Math.round(context === 0 ? draw(FIRST_PROMPT) : draw(APPENDED));
      const request = {
        session: `session-${index}`,
        t,
        model: index % 3 === 0 ? 'claude-small' : 'claude-large',
        input,
        cacheRead: context,
        output: Math.round(draw(OUTPUT)),
        seconds: draw(SERVICE_SECONDS),
      };
      context += input;
      // The client compacts the conversation: a new prompt, of which nothing is cached.
      if (context > 200_000) context = 0;
      t += request.seconds + draw(GAP_SECONDS);
      return request;
    });
  }).flat();
}

/** Log-linear between the given quantiles, the lower half like the step from the median to P90. */
function quantile([p50, p90, p99]: readonly [number, number, number], at: number): number {
  const between = (low: number, high: number, share: number) => low * (high / low) ** share;
  if (at < 0.5) return between((p50 * p50) / p90, p50, at / 0.5);
  if (at < 0.9) return between(p50, p90, (at - 0.5) / 0.4);
  return between(p90, p99, Math.min(1, (at - 0.9) / 0.09));
}

/** Lehmer's generator: enough for traffic. */
function generator(seed: number): () => number {
  let state = (seed % 2_147_483_646) + 1;
  return () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
}

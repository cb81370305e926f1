/** One request as an agent sends it; what it costs is known to the upstream only. */
export interface Request {
  readonly session: string;
  readonly model: string;
  readonly bodyBytes: number;
  readonly inputTokens: number;
  readonly cachedTokens: number;
  readonly outputTokens: number;
  readonly durationMs: number;
}

/**
 * What one upstream API says and means. A dialect is pure: headers and bytes in, facts out.
 * What follows from the facts is decided elsewhere (backoff/, budget/, calibration/).
 */
export interface Dialect {
  readonly name: DialectName;
  /**
   * By which an answer names the organization that its request's credential belongs to; lower case.
   * Null: this API names none.
   */
  readonly organizationHeader: string | null;
  /**
   * The line that points an agent at the proxy, for the start-up text:
   * `ANTHROPIC_BASE_URL=<proxyUrl>`. What stands behind it may depend on the upstream's URL.
   */
  pointer(proxyUrl: string, upstream: URL): string;
  /**
   * Whether the request spends the limits. `path` is the part after the upstream's base path, without
   * the query. Null: it can be read in many ways, and one of them may be a path that spends.
   */
  isMetered(method: string, path: string | null): boolean;
  /**
   * What can be known before the call. `body` is whole, and still encoded if the client encoded it;
   * `path` as for `isMetered`, and empty for null. Never throws.
   */
  readRequest(headers: HeaderFields, body: Buffer, path: string): RequestFacts;
  /**
   * The request as it must be for its answer to state the usage; null: it is forwarded as it came.
   * Left out by a dialect whose answers always do. Never throws.
   */
  readonly shapeRequest?: (
    path: string,
    headers: HeaderFields,
    body: Buffer,
  ) => ShapedRequest | null;
  /**
   * Reads the usage out of one answer as its decoded bytes pass by. `target` is the request's, as the
   * client wrote it: base path left out, query and all.
   */
  openUsageReader(contentType: string, target: string): UsageReader;
  /** What the upstream states about its limits, on any answer. Malformed values are left out. `now` in epoch ms. */
  readLimitSignals(headers: HeaderFields, now: number): readonly LimitSignal[];
  /**
   * Whether an answer with this status can be a refusal, so that the start of its body must be seen
   * first. `readRefusal` is null for every other status.
   */
  mayRefuse(status: number): boolean;
  /**
   * Tells kinds of refusal apart; null for an answer that refuses nothing. `body` is the decoded
   * start of the answer's body, as far as it was read (empty if it could not be decoded).
   */
  readRefusal(status: number, headers: HeaderFields, body: string, now: number): Refusal | null;
  /** The answer Tidegate gives itself, in the upstream's shape. */
  localAnswer(problem: LocalProblem): LocalAnswer;
}

export type DialectName = 'anthropic' | 'openai' | 'generic';

/** A request that asks for more than its client did; what comes of it the client must not see. */
export interface ShapedRequest extends ShapedAnswer {
  readonly body: Buffer;
}

/** What remains to be known of it once it is sent. */
export interface ShapedAnswer {
  /** For a 2xx with this `content-type`; null: there is nothing in it to take out. */
  openFilter(contentType: string): AnswerFilter | null;
  /**
   * Whether an answer with this status can refuse the request for what was added to it. Never one
   * that `mayRefuse`.
   */
  mayReject(status: number): boolean;
  /**
   * Whether it may be that, or names what was added for another reason: then the request is sent
   * once more, as it came. `body` is the decoded start of the answer's body.
   */
  isRejected(body: string): boolean;
  /** The client's own body again, made of the one that was sent. */
  undo(body: Buffer): Buffer;
}

/** Takes out of an answer what is there for our sake only; all other bytes pass, in order. */
export interface AnswerFilter {
  /** Takes the next bytes of an answer without coding; returns those to relay, as views where it can. */
  push(chunk: Buffer): readonly Buffer[];
  /** The body ended, whole or not; returns what was held back and is to be relayed. */
  end(): readonly Buffer[];
}

/**
 * The headers of one message. Names are lower-case; several lines of one name are joined by `, `.
 * `header-fields.ts` makes one of what Node and undici deliver.
 */
export interface HeaderFields {
  get(name: string): string | undefined;
  /** The names that begin so, in their order: some providers' limit headers are an open set of them. */
  names(prefix: string): readonly string[];
}

export interface RequestFacts {
  /** Empty if it can't be read. At most 100 characters, as clean-name.ts leaves them. */
  readonly model: string;
  /**
   * Names the conversation, so that growth since its last request can be seen; a client's own session
   * id or a hash of how the body begins. Empty if there is none.
   */
  readonly session: string;
}

/** Tokens of one request. What a token costs is the dialect's: Anthropic counts no cache reads as input. */
export interface TokenUsage {
  /** Counted by the upstream's limits: for Anthropic, input + cache writes. Null: not known yet. */
  readonly inputTokens: number | null;
  /** Prompt read from the cache, which the limits don't count. */
  readonly cachedTokens: number;
  /** Generated so far, as stated; null before any statement. */
  readonly outputTokens: number | null;
  /** At least this many were generated, judged by the text relayed: a floor for a cut stream. */
  readonly relayedOutputTokens: number;
  /** The answer's own end was seen and its usage stated, so the figures are final and not null. */
  readonly complete: boolean;
  /** The answer failed after its status said 200. */
  readonly failure: StreamFailure | null;
}

export interface StreamFailure {
  /** Of an answer that says the same by its status; 0 for an error that refuses nothing. */
  readonly status: number;
  /** The error, as the body of such an answer has it. */
  readonly body: string;
}

export interface UsageReader {
  /**
   * Takes the next decoded bytes; returns the usage so far, but for `relayedOutputTokens`, which is right
   * at the end. Bounded memory; never throws.
   */
  push(chunk: Buffer): TokenUsage;
  /** The body ended; returns the final word. */
  end(): TokenUsage;
}

/** One limit as the upstream states it. */
export interface LimitSignal {
  /**
   * As the provider names it: `tokens`, `input_tokens`, `output_tokens`, `requests`, a pool of its
   * own (`fast_input_tokens`), or a window: `5h`, `7d`, `7d_opus`. At most 100 characters.
   */
  readonly name: string;
  /** Length of the limit's window, if its name (`5h`: 18,000,000) or the provider's documentation tells. */
  readonly windowMs: number | null;
  readonly status: 'allowed' | 'warning' | 'rejected' | null;
  readonly limit: number | null;
  readonly remaining: number | null;
  /** Fraction used, 0 to 1 and above. */
  readonly utilization: number | null;
  /** Epoch ms. */
  readonly resetAt: number | null;
  /** The provider names this one as the limit that binds now. */
  readonly representative: boolean;
}

/** What an upstream's refusal says about itself. */
export interface Refusal {
  /**
   * - `quota`: a limit is used up; whether of our window or of a minute is told by the stated wait.
   * - `acceleration`: use rose too fast.
   * - `terminal`: waiting for minutes does not help (spend cap, no credits).
   * - `transient`: the server's own hiccup, nobody's quota.
   * - `overload`: capacity of all users (529, 503).
   * - `unknown`: a 429 that says nothing of the kind.
   */
  readonly kind: 'quota' | 'acceleration' | 'terminal' | 'transient' | 'overload' | 'unknown';
  /** The wait the upstream asks for, from now, in ms; null if it states none. Never negative. */
  readonly statedWaitMs: number | null;
  /** Limits the refusal names as exceeded, in the words of `LimitSignal.name`; empty if it names none. */
  readonly limits: readonly LimitName[];
}

export interface LimitName {
  readonly name: string;
  readonly windowMs: number | null;
}

/** Why Tidegate answers by itself. `message` is for a person and holds nothing from the request's body. */
export interface LocalProblem {
  readonly kind:
    | 'rate-limited'
    | 'terminal'
    | 'overloaded'
    | 'state-unavailable'
    | 'bad-request'
    | 'unmet-expectation'
    | 'too-large'
    | 'upstream-unreachable'
    | 'upstream-silent'
    | 'not-implemented'
    | 'loop';
  readonly message: string;
  readonly requestId: string;
}

export interface LocalAnswer {
  readonly status: number;
  readonly contentType: string;
  /** Headers by which this API names a request, e.g. `request-id`. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

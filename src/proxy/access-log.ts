import { createHash } from 'node:crypto';
import type { Settlement } from '../governor/settlement.js';
import { rfc3339, SYSTEM_TIME } from '../platform/clock.js';
import type { Decision } from './local-refusal.js';

/**
 * One metered request as a line of the access log: a contract (docs/reference/access-log.md). Nothing of
 * what was asked or answered, no credential.
 */
export interface AccessLine {
  /** Arrival of its headers, RFC 3339. */
  readonly at: string;
  readonly requestId: string;
  readonly upstream: string;
  /** Empty if it was refused before that was looked for. */
  readonly scope: string;
  readonly model: string;
  /** A hash of what names the conversation; empty if nothing does. */
  readonly session: string;
  readonly bodyBytes: number;
  readonly decision: 'admitted' | Decision;
  /** Of the answer that the client got; 0: none. */
  readonly status: number;
  /** 0: no answer came; null: it was not asked. */
  readonly upstreamStatus: number | null;
  /** Input and output as they were charged; null: nothing was estimated. */
  readonly estimatedTokens: number | null;
  /** Null: not known. */
  readonly inputTokens: number | null;
  readonly cachedTokens: number | null;
  readonly outputTokens: number | null;
  /** The figures are the upstream's final word. */
  readonly complete: boolean;
  /** From the arrival; null where it did not come to that. */
  readonly waitMs: number | null;
  readonly firstByteMs: number | null;
  readonly durationMs: number;
  /** The wait that was stated, by the upstream or by Tidegate. */
  readonly retryAfterMs: number | null;
}

type Mutable<Line> = { -readonly [Name in keyof Line]: Line[Name] };

/** What becomes the line of one request, from its arrival on; told by whoever learns a part of it. */
export class AccessRecord {
  readonly #arrivedAt = SYSTEM_TIME.monotonic();
  readonly #line: Mutable<AccessLine>;
  #decided = false;

  constructor(
    upstream: string,
    requestId: string,
    now: number,
    private readonly write: (line: string) => void,
  ) {
    this.#line = {
      at: rfc3339(now),
      requestId,
      upstream,
      scope: '',
      model: '',
      session: '',
      bodyBytes: 0,
      decision: 'admitted',
      status: 0,
      upstreamStatus: null,
      estimatedTokens: null,
      inputTokens: null,
      cachedTokens: null,
      outputTokens: null,
      complete: false,
      waitMs: null,
      firstByteMs: null,
      durationMs: 0,
      retryAfterMs: null,
    };
  }

  asked(scope: string, model: string, session: string, bodyBytes: number): void {
    const shown = session === '' ? '' : pseudonymOf(session);
    Object.assign(this.#line, { scope, model, bodyBytes, session: shown });
  }

  estimated({ inputTokens, outputTokens }: Pick<AccessLine, 'inputTokens' | 'outputTokens'>): void {
    this.#decided = true;
    this.#line.estimatedTokens = (inputTokens ?? 0) + (outputTokens ?? 0);
  }

  refused(decision: Decision, retryAfterMs: number): void {
    this.#decided = true;
    const firstByteMs = this.#sinceArrival();
    Object.assign(this.#line, { decision, retryAfterMs, firstByteMs });
  }

  forwarded(): void {
    this.#decided = true;
    this.#line.waitMs = this.#sinceArrival();
  }

  /** The head of the upstream's answer is there. */
  answered(status: number): void {
    this.#line.upstreamStatus = status;
    if (status !== 0) this.#line.firstByteMs = this.#sinceArrival();
  }

  stated(waitMs: number | null): void {
    this.#line.retryAfterMs = waitMs;
  }

  settled(settlement: Settlement): void {
    if (settlement.kind !== 'success') return;
    const { inputTokens, cachedTokens, outputTokens, complete } = settlement;
    const cached = inputTokens === null ? null : cachedTokens;
    Object.assign(this.#line, { inputTokens, outputTokens, complete, cachedTokens: cached });
  }

  /** The exchange is over. One that never came to a decision has no line. */
  close(status: number): void {
    if (!this.#decided) return;
    this.#line.status = status;
    this.#line.durationMs = this.#sinceArrival();
    this.write(JSON.stringify(this.#line));
  }

  #sinceArrival(): number {
    return Math.round((SYSTEM_TIME.monotonic() - this.#arrivedAt) * 10) / 10;
  }
}

/** Tells conversations apart, in one log and the next, without naming them. */
function pseudonymOf(session: string): string {
  return createHash('sha256').update(`tidegate session ${session}`).digest('hex').slice(0, 16);
}

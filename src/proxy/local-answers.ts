import type { LocalProblem } from '../dialects/dialect.js';
import type { AdmissionOutcome } from '../governor/admission.js';
import type { Log, LogFields } from '../platform/log.js';
import type { ScopeState } from '../state/scope-state.js';
import type { Exchange } from './exchange.js';
import { type Decision, refusalOf, stateRefusal, type LocalRefusal } from './local-refusal.js';
import type { ProxyTally } from './proxy-tally.js';
import { failureOf, type NoAnswer } from './upstream-failure.js';

export interface LocalAnswersOptions {
  readonly log: Log;
  /** Epoch ms. */
  readonly now: () => number;
  /** Longest `retry-after`, in ms. */
  readonly maxRetryAfterMs: number;
  readonly tally: ProxyTally;
  /** Takes each refusal, for whoever asks why. Must not throw. */
  readonly onRefused: (refusal: ToldRefusal) => void;
}

/** A refusal, and what it was decided on. Instants in epoch ms. */
export interface ToldRefusal {
  readonly requestId: string;
  /** Null: refused before it was looked for. */
  readonly scope: string | null;
  readonly model: string;
  readonly decision: Decision;
  readonly until: number;
  readonly at: number;
  readonly limit: string | null;
  readonly pool: string | null;
  /** See Denial. */
  readonly promised: boolean;
  /** Null where it could not be had. */
  readonly state: ScopeState | null;
  /** In words, for a decision without figures. */
  readonly reason: string | null;
}

/** Why nothing can be admitted at the moment, whoever asks. */
export const DRAINING = 'Tidegate is shutting down and takes no new requests.';
export const NO_ROOM = 'Tidegate holds as many request bodies as it may; try again in a moment.';
export const STATE_UNAVAILABLE =
  'Tidegate cannot record this request at the moment, and forwards nothing that it has not recorded.';

/** Every answer that Tidegate gives itself to an exchange: one line in the log for each. */
export class LocalAnswers {
  constructor(private readonly options: LocalAnswersOptions) {}

  /** What is asked is none of the upstream's business, whatever its state. */
  turnAway(exchange: Exchange, problem: Pick<LocalProblem, 'kind' | 'message'>): void {
    const { requestId } = exchange;
    this.options.log.info('turned away', { requestId, problem: problem.kind });
    exchange.answer(problem, { close: true });
  }

  /** The governor has decided. */
  deny(
    exchange: Exchange,
    { denial, weighed: state }: Extract<AdmissionOutcome, { kind: 'refused' }>,
    { scope, model }: { readonly scope: string; readonly model: string },
  ): void {
    const { tally, maxRetryAfterMs, onRefused } = this.options;
    const { requestId } = exchange;
    tally.refusals.add(scope, denial.decision);
    const { now: at, ...told } = denial;
    onRefused({ requestId, scope, model, at, state, reason: null, ...told });
    const probes = denial.pool !== null || state.hot.backoff.cooldown !== null;
    const refusal = refusalOf(denial, maxRetryAfterMs, probes);
    this.#refuse(exchange, refusal, { scope }, false);
  }

  /** The governor can't be asked, or not yet; `scope` where it is known, `problem` for the log. */
  postpone(
    exchange: Exchange,
    reason: string,
    details: { readonly scope?: string; readonly problem?: string | null } = {},
  ): void {
    const { now, tally, maxRetryAfterMs, onRefused } = this.options;
    const { requestId } = exchange;
    tally.postponed(details.scope);
    const at = now();
    const { scope = null, problem } = details;
    const nothing = { model: '', limit: null, pool: null, promised: false, state: null };
    const told = problem == null ? reason : `${reason} The reason: ${problem}`;
    const decision = 'state' as const;
    onRefused({ ...nothing, requestId, scope, decision, until: at, at, reason: told });
    const refusal = stateRefusal(reason, at, maxRetryAfterMs);
    this.#refuse(exchange, refusal, details, reason === DRAINING);
  }

  /** The upstream failed before it answered. */
  fail(
    exchange: Exchange,
    noAnswer: NoAnswer,
    upstream: Parameters<typeof failureOf>[1] & { readonly name: string },
  ): void {
    const { requestId } = exchange;
    const { code, ...problem } = failureOf(noAnswer, upstream);
    const { log, now, tally } = this.options;
    if (problem.kind !== 'bad-request') tally.unanswered(upstream.name, code, now());
    log.warn('no answer from the upstream', {
      upstream: upstream.name,
      requestId,
      code,
      proxy: upstream.proxy?.host,
    });
    exchange.answer(problem, { close: problem.kind === 'bad-request' });
  }

  #refuse(
    exchange: Exchange,
    { problem: kind, message, decision, retryAfterMs, headers }: LocalRefusal,
    details: LogFields,
    close: boolean,
  ): void {
    exchange.record?.refused(decision, retryAfterMs);
    this.options.log.info('refused', {
      requestId: exchange.requestId,
      ...details,
      decision,
      until: headers['tidegate-blocked-until'],
    });
    exchange.answer({ kind, message }, { close, headers });
  }
}

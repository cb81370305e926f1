import { excessOf, type Cost } from '../budget/cost.js';
import type { EstimateRequest } from '../calibration/estimate.js';
import type { ModelEstimate, ScopeState } from '../state/scope-state.js';
import type { Denial, Grant } from './admit.js';
import type { LimitStatement } from './attribution.js';
import type { Told } from './statements.js';

/** What the governor needs to know of a metered request before the call. */
export interface AdmissionRequest {
  readonly requestId: string;
  /** Key of what was learned about costs; empty if unknown. */
  readonly model: string;
  /** Names the conversation; empty if unknown. */
  readonly session: string;
  readonly bodyBytes: number;
}

/** A request that was let through, until it settles. Only the governor changes it. */
export interface Admission {
  readonly scope: string;
  readonly request: AdmissionRequest;
  /** See sessionKey. */
  readonly session: string;
  /** What the estimate was made from. */
  readonly basis: EstimateRequest;
  readonly learned: ModelEstimate | undefined;
  grant: Grant;
  /** Its input is not known yet. */
  guessed: boolean;
  /** As it is known now. */
  estimate: Cost;
  /** As the charge on record knows it: an amendment may be overtaken by the settlement. */
  recorded: Cost;
  /** The latest change on this request's behalf, until it is durable; the next one waits for that. */
  tail: Promise<void> | null;
  settled: boolean;
  /** The upstream answered 2xx; a refusal stands in the answer itself. */
  accepted: boolean;
  /** What its answer stated of the limits, until an update takes it along. */
  statements: readonly LimitStatement[];
  /** They are worth an update of their own. */
  isNews: boolean;
  /** An amendment or the settlement is on its way and takes them along. */
  carried: boolean;
}

/** A request that was let through a moment ago. */
export function openAdmission(
  scope: string,
  granted: Pick<Admission, 'request' | 'session' | 'basis' | 'learned' | 'grant' | 'estimate'>,
): Admission {
  return {
    scope,
    ...granted,
    recorded: granted.estimate,
    guessed: true,
    tail: null,
    settled: false,
    accepted: false,
    statements: [],
    isNews: false,
    carried: false,
  };
}

/** What the answer stated of the limits, and of its own cost, for the one update that takes it along. */
export function takeAlong(admission: Admission, cost: Cost, late = false): Told {
  const { statements, recorded } = admission;
  admission.statements = [];
  admission.recorded = cost;
  return { statements, surprise: excessOf(cost, recorded), late };
}

interface Refused<Kind> {
  readonly kind: Kind;
  readonly denial: Denial;
  readonly estimate: Cost;
  /** What the decision was made on. */
  readonly weighed: ScopeState;
}

export type AdmissionOutcome =
  /** `observed`: what would have been the refusal, in observe mode. */
  | { readonly kind: 'admitted'; readonly admission: Admission; readonly observed: Denial | null }
  | Refused<'refused'>
  /**
   * The charge could not be made durable in time: nothing may be forwarded (observe mode: unmetered).
   * `problem`: what the store says of itself, for the operator.
   */
  | { readonly kind: 'state-unavailable'; readonly problem: string | null };

/** What comes of one attempt: one that is held back, or put off by moments, is worth another. */
export type AttemptOutcome = AdmissionOutcome | Refused<'held'> | Refused<'soon'>;

/**
 * Makes a change once those before it are durable: at once, if there are none, so that a correction
 * stands before the admission that takes it along.
 */
export function inTurn(admission: Admission, change: () => Promise<void>): Promise<void> {
  const before = admission.tail;
  const durable = (before === null ? change() : before.then(change)).then(() => {
    if (admission.tail === durable) admission.tail = null;
  });
  admission.tail = durable;
  return durable;
}

/** Side calls to a smaller model share the client's session id, but not its conversation. */
export function sessionKey({ session, model }: AdmissionRequest): string {
  return session === '' ? '' : `${session} ${model}`;
}

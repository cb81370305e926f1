import type { Cost } from '../budget/cost.js';
import { estimateCost } from '../calibration/estimate.js';
import { sleep, withDeadline, type Timers } from '../platform/timers.js';
import type { StateRepository } from '../state/state-repository.js';
import { admit, type AdmitOutcome, learnedBefore } from './admit.js';
import {
  type Admission,
  type AdmissionOutcome,
  type AdmissionRequest,
  type AttemptOutcome,
  openAdmission,
  sessionKey,
} from './admission.js';
import {
  type DurableUpdates,
  isStateFailure,
  isUnknown,
  MOST_UNKNOWN,
  STATE_WAIT_MS,
} from './durable-updates.js';
import type { Policies } from './policies.js';
import type { ScopeRuntime } from './scope-runtime.js';

/** Pause before a write that failed is tried again. */
const RETRY_MS = 100;

/** Asks the state whether requests may pass: in turn, in time, and again where that is safe. */
export class Admissions {
  constructor(
    private readonly options: {
      readonly repository: StateRepository;
      readonly policies: Policies;
      readonly instance: string;
      readonly observe: boolean;
      readonly timers: Timers;
    },
    private readonly updates: DurableUpdates,
    /** Takes what was charged when nobody waited for it any more. */
    private readonly onAbandoned: (admission: Admission) => void,
  ) {}

  /** See Governor.admit. */
  admit(runtime: ScopeRuntime, request: AdmissionRequest): Promise<AdmissionOutcome> {
    return runtime.admitInTurn(() => this.#inTime(runtime, request));
  }

  async #inTime(runtime: ScopeRuntime, request: AdmissionRequest): Promise<AttemptOutcome> {
    const attempt = { abandoned: false };
    const admitted = this.#durably(runtime, request, attempt);
    const outcome = await withDeadline(this.options.timers, STATE_WAIT_MS, admitted, null);
    if (outcome !== null) return outcome;
    attempt.abandoned = true;
    return { kind: 'state-unavailable', problem: this.options.repository.health().problem };
  }

  async #durably(
    runtime: ScopeRuntime,
    request: AdmissionRequest,
    attempt: { abandoned: boolean },
  ): Promise<AttemptOutcome | null> {
    let unknown = 0;
    while (!attempt.abandoned && unknown < MOST_UNKNOWN) {
      if (runtime.hold !== null) {
        await runtime.hold;
        continue;
      }
      try {
        const outcome = await this.#attempt(runtime, request);
        // Nobody waits for it any more: it goes nowhere, and so it costs nothing.
        if (attempt.abandoned && outcome.kind === 'admitted') {
          this.onAbandoned(outcome.admission);
        }
        return outcome;
      } catch (error) {
        if (!isStateFailure(error)) throw error;
        if (isUnknown(error)) unknown += 1;
        await sleep(this.options.timers, RETRY_MS);
      }
    }
    return null;
  }

  async #attempt(runtime: ScopeRuntime, request: AdmissionRequest): Promise<AttemptOutcome> {
    const { policies, instance, observe } = this.options;
    const trail = runtime.sessions.get(sessionKey(request));
    const basis = { bodyBytes: request.bodyBytes, trail };
    let learned = runtime.learnedOf(request.model);
    let cost: Cost | undefined;
    // Corrections first: the decision must see them.
    runtime.flush();
    runtime.active += 1;
    let outcome: AdmitOutcome | undefined;
    try {
      outcome = await this.updates.update(runtime.rules, request.requestId, (draft) => {
        learned ??= learnedBefore(draft, request.model);
        cost = { requests: 1, ...estimateCost(learned, basis, draft.now) };
        return admit(draft, policies, { cost, model: request.model, instance, observe });
      });
    } finally {
      if (outcome?.kind !== 'admitted') runtime.active -= 1;
    }
    if (outcome.kind !== 'admitted') {
      if (outcome.kind === 'refused') runtime.noteRefusal();
      return { ...outcome, estimate: cost as Cost };
    }
    runtime.news.spend(request.model, cost as Cost);
    const { grant } = outcome;
    const granted = { request, basis, learned, grant, estimate: cost as Cost };
    const admission = openAdmission(runtime.rules.name, granted);
    return { kind: 'admitted', admission, observed: outcome.observed };
  }
}

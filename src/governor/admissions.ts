import { NO_COST, type Cost } from '../budget/cost.js';
import { estimateCost } from '../calibration/estimate.js';
import { SharedDeadline, type Timers } from '../platform/timers.js';
import type { StateRepository } from '../state/state-repository.js';
import { admit, type AdmitOutcome, learnedBefore, soon } from './admit.js';
import {
  type Admission,
  type AdmissionOutcome,
  type AdmissionRequest,
  type AttemptOutcome,
  openAdmission,
  sessionKey,
} from './admission.js';
import type { Draft } from './draft.js';
import {
  type DurableUpdates,
  isStateFailure,
  isUnknown,
  MOST_UNKNOWN,
  STATE_WAIT_MS,
} from './durable-updates.js';
import { outlive } from './own-start.js';
import type { Policies } from './policies.js';
import type { ScopeRuntime } from './scope-runtime.js';
import { promisedBefore, showTurn } from './turns.js';
import type { Before } from './waiting-line.js';

/** Pause before a write that failed is tried again. */
const RETRY_MS = 100;

/** Asks the state whether requests may pass: in turn, in time, and again where that is safe. */
export class Admissions {
  readonly #deadline: SharedDeadline;

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
  ) {
    this.#deadline = new SharedDeadline(options.timers, STATE_WAIT_MS);
  }

  /** See Governor.admit. */
  admit(runtime: ScopeRuntime, request: AdmissionRequest): Promise<AdmissionOutcome> {
    return runtime.admitInTurn(request.model, () => this.#inTime(runtime, request));
  }

  /** Few promises, for there is one of these with each request. */
  #inTime(runtime: ScopeRuntime, request: AdmissionRequest): Promise<AttemptOutcome> {
    return new Promise((resolve, reject) => {
      let abandoned = false;
      let unknown = 0;
      const giveUp = () => {
        abandoned = true;
        const { problem } = this.options.repository.health();
        resolve({ kind: 'state-unavailable', problem });
      };
      const cancel = this.#deadline.set(giveUp);
      const end = (outcome: AttemptOutcome) => {
        cancel();
        // Nobody waits for it any more: it goes nowhere, and so it costs nothing.
        if (!abandoned) resolve(outcome);
        else if (outcome.kind === 'admitted') this.onAbandoned(outcome.admission);
      };
      const fail = (error: unknown) => {
        cancel();
        reject(error);
      };
      const retry = (error: unknown) => {
        if (!isStateFailure(error)) return fail(error);
        if (isUnknown(error)) unknown += 1;
        if (unknown < MOST_UNKNOWN) return void this.options.timers.after(RETRY_MS, attempt);
        cancel();
        giveUp();
      };
      const attempt = () => {
        if (abandoned) return;
        if (runtime.hold !== null) return void runtime.hold.then(attempt, fail);
        this.#attempt(runtime, request, end, retry);
      };
      attempt();
    });
  }

  #attempt(
    runtime: ScopeRuntime,
    request: AdmissionRequest,
    end: (outcome: AttemptOutcome) => void,
    failed: (error: unknown) => void,
  ): void {
    const { policies, instance, observe, repository } = this.options;
    const { requestId, model, bodyBytes } = request;
    const session = sessionKey(request);
    const basis = { bodyBytes, trail: runtime.sessions.get(session) };
    let learned = runtime.models.get(model);
    let estimate: Cost = NO_COST;
    // What comes back is the same body of the same conversation.
    const place = `${session} ${bodyBytes}`;
    let before: Before | null = null;
    let outcome: AdmitOutcome;
    const decide = (draft: Draft) => {
      runtime.start = outlive(draft, instance, runtime.start);
      learned ??= learnedBefore(draft, model);
      const { coldTokens, ...tokens } = estimateCost(learned, basis, draft.now);
      estimate = { requests: 1, ...tokens };
      // Should the decision have to be made anew, its place is still the one that it had.
      before ??= runtime.line.before(place, draft.now);
      const promises = promisedBefore(draft, instance, before);
      const asked = { cost: estimate, coldTokens, model, promises, instance, observe };
      outcome = admit(draft, policies, asked);
      if (before.isDue) outcome = soon(outcome);
      runtime.line.note(place, outcome);
      if (repository.shared) showTurn(draft, instance, runtime.line);
    };
    const made = () => {
      if (outcome.kind !== 'admitted') {
        runtime.active -= 1;
        if (outcome.kind === 'refused') runtime.noteRefusal();
        return end({ ...outcome, estimate });
      }
      runtime.news.spend(model, estimate);
      const { grant, observed } = outcome;
      const granted = { request, session, basis, learned, grant, estimate };
      end({ kind: 'admitted', admission: openAdmission(runtime.rules.name, granted), observed });
    };
    // Corrections first: the decision must see them.
    runtime.flush();
    runtime.active += 1;
    this.updates.submit(runtime.rules, [{ requestId, decide }], made, (error) => {
      runtime.active -= 1;
      failed(error);
    });
  }
}

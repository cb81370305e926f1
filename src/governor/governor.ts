import { bounded } from '../budget/cost.js';
import { rulesFor } from '../budget/model-pools.js';
import type { Counts } from '../platform/counts.js';
import type { Random } from '../platform/random.js';
import { withDeadline, type Timers } from '../platform/timers.js';
import type { StateRepository } from '../state/state-repository.js';
import { isProbe } from './admit.js';
import {
  type Admission,
  type AdmissionOutcome,
  type AdmissionRequest,
  inTurn,
} from './admission.js';
import { Admissions } from './admissions.js';
import type { LimitStatement } from './attribution.js';
import { amendment, type Setting, settlement, success, telling } from './corrections.js';
import type { Draft, ScopeRules } from './draft.js';
import { DurableUpdates, isStateFailure, STATE_WAIT_MS, UpdateTally } from './durable-updates.js';
import type { EventListener, NudgeOutcome } from './events.js';
import type { KeyDirectory } from './key-directory.js';
import { learnFrom } from './learning.js';
import { NOT_STARTED } from './own-start.js';
import type { Policies } from './policies.js';
import { ScopeRuntime } from './scope-runtime.js';
import { viewScope, type ScopeView } from './scope-view.js';
import { exceedsCharge } from './settle.js';
import { costOf, type Settlement } from './settlement.js';
import { clearCooldown, resetBudget, startInstance, stopInstance, tick } from './upkeep.js';
import { accepted, overload, refuse, type UpstreamRefusal } from './verdict.js';

export interface GovernorOptions {
  readonly repository: StateRepository;
  readonly policies: Policies;
  /** Every scope that exists, in the order of /status. */
  readonly scopes: readonly ScopeRules[];
  /** Name of this instance, the same after a restart. */
  readonly instance: string;
  /** Observe mode: what would be refused passes, charged and counted. */
  readonly observe: boolean;
  /** Period of the scheduled job, in ms, the same for all instances. */
  readonly tickMs: number;
  readonly timers: Timers;
  readonly random: Random;
  /** Told of every change once it is durable. Must not throw. */
  readonly report: EventListener;
}

/**
 * Composes the three policies; the only caller of `update`. In the life of a request:
 *
 *   admit ──► (succeeded | refused | overloaded) ──► amend* ──► settle
 *
 * The charge is durable before `admit` resolves. What corrects it downward may come up to 250 ms
 * later and shares an update with others, what corrects it upward is issued at once. A write that
 * failed is repeated until it is durable; where that can't be known, only what is safe to do twice is.
 */
export class Governor {
  readonly updateTally: UpdateTally;
  readonly #options: GovernorOptions;
  readonly #updates: DurableUpdates;
  readonly #admissions: Admissions;
  readonly #scopes: ReadonlyMap<string, ScopeRuntime>;
  #stopping = false;

  constructor(options: GovernorOptions) {
    this.#options = options;
    this.updateTally = new UpdateTally(options.scopes.map(({ name }) => name));
    this.#updates = new DurableUpdates(options, this.updateTally);
    this.#admissions = new Admissions(options, this.#updates, (admission) =>
      this.settle(admission, { kind: 'not-sent' }),
    );
    this.#scopes = new Map(
      options.scopes.map((rules) => [
        rules.name,
        new ScopeRuntime(rules, options.timers, this.#updates),
      ]),
    );
  }

  get scopes(): readonly string[] {
    return [...this.#scopes.keys()];
  }

  /**
   * Takes up what requests need before anything is decided. A shared store may be away, and its
   * instances start all the same: then `start` takes it up.
   */
  async load(): Promise<void> {
    for (const { rules, keys } of this.#scopes.values()) {
      try {
        const { state } = await this.#options.repository.read(rules.name);
        keys.load(state.cold.organizations);
      } catch (error) {
        if (!isStateFailure(error)) throw error;
      }
    }
  }

  /** Which organization credentials belong to, as the answers in this scope told. */
  keysOf(scope: string): KeyDirectory {
    return this.#runtime(scope).keys;
  }

  /** Records the start in every scope. Resolves once it is durable; until then nothing is admitted. */
  async start(): Promise<void> {
    const { instance, policies, repository } = this.#options;
    const self = { name: instance, alone: !repository.shared };
    const starts = [...this.#scopes.values()].map((runtime) => {
      const started = this.#updates.persist(runtime.rules, {
        requestId: null,
        decide: (draft) => {
          startInstance(draft, policies, self);
          runtime.keys.load(draft.cold.organizations);
          runtime.start = { ...NOT_STARTED, startedAt: draft.now };
        },
      });
      runtime.holdUntil(started);
      return started.then((made) => {
        if (made) runtime.start = { ...runtime.start, durable: true };
      });
    });
    await Promise.all(starts);
  }

  /** A stop begins: requests that wait here for a moment are told to come back. */
  releaseHeld(): void {
    for (const runtime of this.#scopes.values()) runtime.release();
  }

  /**
   * Writes what is outstanding and records a clean stop. Call when every admission has settled. Resolves to
   * whether that was done in time; rejects, once no scope is under way any more, if it can't be done for one.
   */
  async stop(deadlineMs: number): Promise<boolean> {
    const { instance, timers } = this.#options;
    this.#stopping = true;
    const stops = [...this.#scopes.values()].map(async (runtime) => {
      await runtime.settled();
      const decide = (draft: Draft) => stopInstance(draft, instance, runtime.start);
      return this.#updates.persist(runtime.rules, { requestId: null, decide });
    });
    const stopped = Promise.allSettled(stops).then(() => Promise.all(stops));
    const recorded = await withDeadline(timers, deadlineMs, stopped, [false]);
    return recorded.every(Boolean);
  }

  /**
   * May the request pass? Charges its estimate, and resolves after that is durable. Waits at most two
   * seconds for a state that can't be written, and six for what is worth waiting for.
   */
  admit(scope: string, request: AdmissionRequest): Promise<AdmissionOutcome> {
    return this.#admissions.admit(this.#runtime(scope), request);
  }

  /** The upstream answered 2xx; `statements` is what its headers say of its limits. */
  succeeded(admission: Admission, statements: readonly LimitStatement[]): void {
    admission.statements = statements;
    admission.accepted = true;
    const setting = this.#settingOf(admission);
    const { runtime } = setting;
    if (admission.grant.awaited)
      runtime.correct(success(admission, setting), isProbe(admission.grant));
    admission.isNews = runtime.news.has(admission.request.model, statements);
    if (admission.isNews) runtime.correct(telling(admission, setting), false);
  }

  /**
   * The upstream refused: `reading` tells how, once enough of the answer was read, or null if it is
   * no refusal after all. Blocks the scope at once. Resolves when the cooldown is durable, or after
   * two seconds; nothing is admitted until it is.
   */
  async refused(
    admission: Admission,
    reading: Promise<Omit<UpstreamRefusal, 'jitter'> | null>,
  ): Promise<void> {
    const { policies, random } = this.#options;
    await this.#block(admission, async () => {
      const refusal = await reading;
      if (refusal === null) return;
      const told = { ...refusal, jitter: random() };
      const { rules, missing } = this.#runtime(admission.scope);
      const { model } = admission.request;
      const news = missing.note(told, model, rulesFor(rules.limits, model));
      await this.#persist(admission, (draft) => {
        const { grant } = admission;
        const now = admission.accepted ? accepted(draft, policies, grant) : grant;
        refuse(draft, policies, now, told);
        for (const { name: named, windowMs, granted } of news) {
          draft.report({ kind: 'limit-missing', named, model, windowMs, granted });
        }
      });
    });
  }

  /** 529, 503, or an in-stream overload. Blocks and resolves like `refused`. */
  async overloaded(admission: Admission, statedWaitMs: number | null): Promise<void> {
    const { policies } = this.#options;
    const told = { statedWaitMs, inAnswer: admission.accepted };
    const overloading = (draft: Draft) => overload(draft, policies, admission.grant, told);
    await this.#block(admission, async () => void (await this.#persist(admission, overloading)));
  }

  /** The real input is known while the answer still streams. */
  amend(admission: Admission, inputTokens: number): void {
    const before = admission.estimate;
    if (admission.settled || (inputTokens === before.inputTokens && !admission.guessed)) return;
    const setting = this.#settingOf(admission);
    const estimate = bounded({ ...before, inputTokens });
    admission.estimate = estimate;
    admission.carried = true;
    setting.runtime.news.spend(admission.request.model, estimate, before);
    const urgent = inputTokens > before.inputTokens;
    setting.runtime.correct(amendment(admission, estimate, setting), urgent);
  }

  /** The request is over. A second call for the same admission changes nothing. */
  settle(admission: Admission, ending: Settlement): void {
    if (admission.settled) return;
    admission.settled = true;
    admission.carried = true;
    const setting = this.#settingOf(admission);
    const { runtime } = setting;
    const actual = costOf(ending, admission.estimate);
    runtime.news.spend(admission.request.model, actual, admission.estimate);
    const estimate = learnFrom(runtime, admission, ending);
    const upward = exceedsCharge(admission.grant.charge, runtime.rules.limits, actual);
    const whole = ending.kind === 'success' && ending.whole;
    runtime.correct(settlement(admission, { actual, whole, estimate }, setting), upward);
  }

  /** The scheduled job: one look at every scope, whatever came of the others. Rejects if one failed. */
  async tick(): Promise<void> {
    const failures: { readonly scope: string; readonly error: unknown }[] = [];
    for (const [scope, runtime] of this.#scopes) {
      if (this.#stopping) return;
      await this.#look(runtime).catch((error: unknown) => failures.push({ scope, error }));
    }
    const [first] = failures;
    if (first === undefined) return;
    const reason = first.error instanceof Error ? first.error.message : String(first.error);
    const scopes = failures.map(({ scope }) => scope).join(', ');
    throw new Error(`${scopes}: ${reason}`, { cause: first.error });
  }

  async #look(runtime: ScopeRuntime): Promise<void> {
    const { policies, instance: self, tickMs, repository } = this.#options;
    let known = runtime.start;
    const { guards, start } = await this.#updates.update(runtime.rules, null, (draft) => {
      // What one attempt has found is news to the next; but our own start may be decided anew between them.
      known = runtime.start;
      return tick(draft, policies, runtime.tickContext(self, tickMs, !repository.shared));
    });
    // Told once. Meanwhile our own start may have come on record, or been decided anew.
    if (runtime.start === known) runtime.start = start;
    runtime.noteNudges(guards);
  }

  /** The operator ends the scope's cooldown. */
  clearCooldown(scope: string): Promise<void> {
    return this.#order(scope, clearCooldown);
  }

  /** The operator takes back what the scope learned about its limits. */
  resetBudget(scope: string): Promise<void> {
    return this.#order(scope, resetBudget);
  }

  /** The scope as it stands now; rejects if the state can't be read. */
  async view(scope: string): Promise<ScopeView> {
    const { instance, policies } = this.#options;
    const { rules, guards, missing } = this.#runtime(scope);
    const draft = await this.#updates.look(rules, policies);
    return viewScope(draft, scope, { instance, guards, missing: missing.all });
  }

  /** What came of each look at a limit's budget, since the process started. */
  nudges(scope: string): Counts<NudgeOutcome> {
    return this.#runtime(scope).nudges;
  }

  async #order(scope: string, order: (draft: Draft, policies: Policies) => void): Promise<void> {
    const { rules } = this.#runtime(scope);
    await this.#updates.update(rules, null, (draft) => order(draft, this.#options.policies));
  }

  #settingOf({ scope }: Admission): Setting {
    const { policies, instance } = this.#options;
    return { policies, instance, runtime: this.#runtime(scope) };
  }

  /** Repeats a decision that is safe to be made twice until it is durable. */
  #persist({ scope, request }: Admission, decide: (draft: Draft) => void): Promise<boolean> {
    const { requestId } = request;
    return this.#updates.persist(this.#runtime(scope).rules, { requestId, decide });
  }

  /** Holds back every admission of the scope until `write` is durable; waits for it two seconds. */
  async #block(admission: Admission, write: () => Promise<void>): Promise<void> {
    const runtime = this.#runtime(admission.scope);
    const durable = inTurn(admission, write);
    runtime.track(durable);
    runtime.holdUntil(durable);
    await withDeadline(this.#options.timers, STATE_WAIT_MS, durable, undefined);
  }

  #runtime(scope: string): ScopeRuntime {
    const runtime = this.#scopes.get(scope);
    if (runtime === undefined) throw new RangeError(`no scope named ${JSON.stringify(scope)}`);
    return runtime;
  }
}

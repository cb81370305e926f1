import type { ScopeRules } from '../governor/draft.js';
import type { Timers } from '../platform/timers.js';
import type { EventJournal } from '../state/event-journal.js';
import type { EventRecord, Instant } from '../state/scope-state.js';
import type { StateRepository } from '../state/state-repository.js';
import { EventFeed } from './event-feed.js';
import { EventRecorder } from './event-recorder.js';
import type { NotedRefusal } from './grounds.js';
import { type FoundRefusal, RefusalLedger } from './refusal-ledger.js';
import { readRequestId } from './request-ids.js';

export interface HistoryOptions {
  readonly repository: StateRepository;
  readonly journal: EventJournal;
  readonly scopes: readonly ScopeRules[];
  readonly timers: Timers;
  /** Told when the journal can't be used, and (null) when it can again. */
  readonly onProblem: (problem: string | null) => void;
}

/** How long a refusal can be explained. */
const EXPLAINED_MS = 86_400_000;
/** How often entries that have lived long enough are dropped. */
const PRUNE_EVERY_MS = 3_600_000;

/** What happened and why, for whoever asks afterwards. Nothing that decides waits for it. */
export class History {
  readonly events: EventFeed;
  readonly refusals: RefusalLedger;
  readonly #journal: EventJournal;
  readonly #recorder: EventRecorder;
  readonly #onProblem: HistoryOptions['onProblem'];
  #prunedAt: Instant | null = null;
  #told: string | null = null;
  #keepingUp: Promise<void> | null = null;
  #closing = false;

  constructor({ repository, journal, scopes, timers, onProblem }: HistoryOptions) {
    const names = scopes.map(({ name }) => name);
    const rules = new Map(scopes.map(({ name, limits }) => [name, limits]));
    const parts = { repository, journal, scopes: names, timers };
    this.#journal = journal;
    this.#onProblem = onProblem;
    this.#recorder = new EventRecorder(parts);
    this.events = new EventFeed(parts);
    this.refusals = new RefusalLedger({
      journal,
      rulesOf: (scope) => rules.get(scope) ?? [],
      timers,
    });
  }

  /** An event is durable. */
  take(scope: string, record: EventRecord): void {
    this.#recorder.take(scope, record);
    this.events.wake();
  }

  /** A request was refused. */
  note(refusal: NotedRefusal): void {
    this.refusals.note(refusal);
  }

  /** Why a request was refused, of the last 24 hours; null: it was not, or that is not known any more. */
  async explain(requestId: string, now: Instant): Promise<FoundRefusal | null> {
    const request = readRequestId(requestId);
    const found = request === null ? null : await this.refusals.find(request);
    return found === null || now - found.grounds.at > EXPLAINED_MS ? null : found;
  }

  /**
   * At a start, and with every run of the job: what is missing is copied, what is old dropped. A journal
   * that can't be used is told of, and tried again the next time. One at a time, and none after `close`.
   */
  upkeep(now: Instant): Promise<void> {
    if (this.#closing) return Promise.resolve();
    this.#keepingUp ??= this.#keepUp(now).finally(() => (this.#keepingUp = null));
    return this.#keepingUp;
  }

  async #keepUp(now: Instant): Promise<void> {
    try {
      await this.#recorder.catchUp();
      if (this.#prunedAt === null || now - this.#prunedAt >= PRUNE_EVERY_MS) {
        await this.#journal.prune(now);
        this.#prunedAt = now;
      }
    } catch {
      // Its health says why.
    }
    const { problem } = this;
    if ((problem === null) === (this.#told === null)) return;
    this.#told = problem;
    this.#onProblem(problem);
  }

  /** One sentence for the operator while the journal can't be written. */
  get problem(): string | null {
    return this.#journal.problem;
  }

  /** Refusals that can't be explained, for want of room for them, since the process started. */
  get dropped(): number {
    return this.refusals.unexplained;
  }

  async close(): Promise<void> {
    this.#closing = true;
    this.events.close();
    await this.#keepingUp;
    await Promise.all([this.#recorder.flush(), this.refusals.flush()]);
    await this.#journal.close();
  }
}

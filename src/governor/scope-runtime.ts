import { Counts } from '../platform/counts.js';
import type { Cancel, Timers } from '../platform/timers.js';
import type { AdmissionOutcome, AttemptOutcome } from './admission.js';
import { countRefusals } from './admit.js';
import { type Correction, CorrectionQueue } from './correction-queue.js';
import type { Draft, ScopeRules } from './draft.js';
import type { DurableUpdates } from './durable-updates.js';
import type { GuardsHeld, NudgeOutcome } from './events.js';
import { HeldRequests } from './held-requests.js';
import { KeyDirectory } from './key-directory.js';
import { MissingLimits } from './missing-limits.js';
import { ModelMemory } from './model-memory.js';
import { SessionMemory } from './session-memory.js';
import { ShortWaits } from './short-waits.js';
import { NOT_STARTED, type OwnStart } from './own-start.js';
import { StatementNews } from './statement-news.js';
import type { TickContext } from './upkeep.js';
import { WaitingLine } from './waiting-line.js';

/** Corrections that lower a charge wait this long for company; an admission takes them along sooner. */
const COALESCE_MS = 250;
/** An instance that missed so many is silent: a stream that lasts gives a sign of life with each. */
const MISSED_TICKS = 3;

const NUDGE_OUTCOMES: Readonly<Record<NudgeOutcome, true>> = {
  raised: true,
  'no-budget': true,
  stated: true,
  'at-ceiling': true,
  'nudged-lately': true,
  'young-traffic': true,
  'little-used': true,
  'not-in-the-way': true,
  'refused-lately': true,
  'near-limit': true,
  unobserved: true,
  cautious: true,
  'crash-loop': true,
};

/** What one process holds of a scope between updates. Nothing in it is needed to be safe after a crash. */
export class ScopeRuntime {
  readonly sessions = new SessionMemory();
  readonly models = new ModelMemory();
  readonly news = new StatementNews();
  readonly line = new WaitingLine();
  readonly missing = new MissingLimits();
  readonly keys: KeyDirectory;
  /** Admissions not settled durably yet. */
  active = 0;
  /** Set while a refusal or the start is not durable: nothing is admitted before it is. */
  hold: Promise<void> | null = null;
  guards: GuardsHeld = {};
  /** What came of the looks at budgets since the process started, by limit. */
  readonly nudges: Counts<NudgeOutcome>;
  start: OwnStart = NOT_STARTED;
  readonly #held: HeldRequests;
  readonly #shortWaits: ShortWaits;
  readonly #corrections: CorrectionQueue;
  #cancel: Cancel | null = null;
  /** Not counted durably yet. */
  #refusals = 0;
  #counting = false;
  readonly #underWay = new Set<Promise<void>>();

  constructor(
    readonly rules: ScopeRules,
    private readonly timers: Timers,
    private readonly updates: DurableUpdates,
  ) {
    this.keys = new KeyDirectory(rules, updates);
    this.#held = new HeldRequests(timers);
    this.#shortWaits = new ShortWaits(timers);
    this.#corrections = new CorrectionQueue(
      rules,
      updates,
      (made) => this.track(made),
      (made) => this.holdUntil(made),
    );
    const limits = rules.limits.map(({ name }) => name);
    this.nudges = new Counts(limits, Object.keys(NUDGE_OUTCOMES) as NudgeOutcome[]);
  }

  /** Lets a request wait its turn, if it is held back or put off by moments; who waits for too long is refused. */
  async admitInTurn(
    model: string,
    attempt: () => Promise<AttemptOutcome>,
  ): Promise<AdmissionOutcome> {
    const inLine = () => this.#held.wait(model, attempt);
    let outcome = await inLine();
    if (outcome.kind === 'soon') outcome = await this.#shortWaits.wait(outcome, inLine);
    if (outcome.kind !== 'held' && outcome.kind !== 'soon') return outcome;
    this.noteRefusal();
    return { ...outcome, kind: 'refused' };
  }

  /** Nobody waits here any more: who does is told to come back. */
  release(): void {
    this.#held.close();
    this.#shortWaits.close();
  }

  /** Takes what the scheduled job found. */
  noteNudges(guards: GuardsHeld): void {
    this.guards = guards;
    for (const [limit, outcome] of Object.entries(guards)) this.nudges.add(limit, outcome);
  }

  /** For the scheduled job's look. */
  tickContext(self: string, tickMs: number, alone: boolean): TickContext {
    const silentAfterMs = MISSED_TICKS * tickMs;
    return { self, idle: this.active === 0, alone, silentAfterMs, start: this.start };
  }

  /** Makes the correction with the next admission, at most 250 ms from now; an urgent one at once. */
  correct(correction: Correction, urgent: boolean): void {
    this.#corrections.add(correction, urgent);
    if (urgent) this.flush();
    else this.#arm();
  }

  /** Counts a local refusal; the count is written within 250 ms. */
  noteRefusal(): void {
    this.#refusals += 1;
    this.#arm();
  }

  /** Makes the corrections that wait. */
  flush(): void {
    this.#corrections.flush();
  }

  /** Issues the count of refusals, too: not with every admission, for those may be refused as well. */
  flushAll(): void {
    this.#cancel?.();
    this.#cancel = null;
    this.flush();
    if (this.#refusals > 0 && !this.#counting) this.track(this.#countRefusals());
  }

  /** One at a time: while the state is away refusals go on, and a write that waits for each would pile up. */
  async #countRefusals(): Promise<void> {
    this.#counting = true;
    let counted = 0;
    const decide = (draft: Draft) => {
      // Each attempt takes along what came meanwhile.
      counted = this.#refusals;
      countRefusals(draft, counted);
    };
    const made = await this.updates.persist(this.rules, { requestId: null, decide });
    // A store that is closed takes no more.
    this.#refusals = made ? this.#refusals - counted : 0;
    this.#counting = false;
    if (this.#refusals > 0) this.#arm();
  }

  /** Remembers a change under way, for `settled`. */
  track(change: Promise<void>): void {
    this.#underWay.add(change);
    void change.finally(() => {
      this.#underWay.delete(change);
      this.#held.look();
    });
  }

  /** Issues what waits, and resolves when all of it is durable. */
  async settled(): Promise<void> {
    for (;;) {
      this.flushAll();
      if (this.#underWay.size === 0) return;
      await Promise.allSettled(this.#underWay);
    }
  }

  /** No admission passes before `durable` resolved. Holds add up. */
  holdUntil(durable: Promise<unknown>): void {
    const held = Promise.all([this.hold, durable]).then(() => {});
    this.hold = held;
    void held.finally(() => {
      if (this.hold === held) this.hold = null;
    });
  }

  #arm(): void {
    this.#cancel ??= this.timers.after(COALESCE_MS, () => this.flushAll());
  }
}

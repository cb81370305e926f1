import type { SteadyClock } from '../platform/clock.js';
import { markBehind, marked, markSetRight } from './clock-marks.js';
import {
  EMPTY_SCOPE,
  emptyScopeState,
  type Instant,
  type LossReason,
  type ScopeState,
  type StateLoss,
} from './scope-state.js';

/** All that a store keeps, whatever it keeps it in. */
export interface StoredState {
  readonly id: string;
  /** Of the latest write. */
  readonly revision: number;
  readonly savedAt: Instant;
  /** Scopes were lost, nobody knows which: one that turns up new is not new. */
  readonly lost: StateLoss | null;
  readonly scopes: ReadonlyMap<string, ScopeState>;
}

/** What was found where a store should be. */
export interface FoundState {
  /** As whole as it can be had. */
  readonly stored: StoredState;
  /** A store that was there is lost, or in part; or it is new, and the policy mistrusts that. */
  readonly loss: LossReason | null;
  /** Newest instant on record; null if there is none. */
  readonly recordedAt: Instant | null;
  /** What is wrong where, for people, as far as the store can tell. */
  readonly damage?: readonly string[];
}

/**
 * What is durable in a store that one instance has to itself. Losses are marked here, for the next
 * write to keep.
 */
export class HeldState {
  readonly #clock: SteadyClock;
  #id = '';
  #lost: StateLoss | null = null;
  #scopes = new Map<string, ScopeState>();
  #blank = EMPTY_SCOPE;
  /** Of the last durable write, and the highest one ever tried. */
  #revision = 0;
  #attempted = 0;

  /** @param clock Is made to go on from the newest instant on record. */
  constructor(clock: SteadyClock) {
    this.#clock = clock;
  }

  get id(): string {
    return this.#id;
  }

  get lost(): StateLoss | null {
    return this.#lost;
  }

  get revision(): number {
    return this.#revision;
  }

  get attempted(): number {
    return this.#attempted;
  }

  get scopes(): ReadonlyMap<string, ScopeState> {
    return this.#scopes;
  }

  /** Of the scopes written so far, sorted. */
  get names(): string[] {
    return [...this.#scopes.keys()].sort();
  }

  stateOf(scope: string): ScopeState {
    return this.#scopes.get(scope) ?? this.#blank;
  }

  /**
   * To be called before a decision, with none under way whose result would replace what is marked here: scopes
   * that went back with the clock come forth where it was set right meanwhile.
   */
  followClock(): void {
    const correctedMs = this.#clock.takeCorrection();
    if (correctedMs > 0) this.#each((state) => markSetRight(state, correctedMs, this.#clock.now()));
  }

  /** The revision of the next write: above anything that a failed one may have left on the disk. */
  attempt(): number {
    this.#attempted += 1;
    return this.#attempted;
  }

  /** The write of that revision is durable. */
  wrote(revision: number): void {
    this.#revision = revision;
  }

  apply(changed: ReadonlyMap<string, ScopeState>): void {
    for (const [scope, state] of changed) this.#scopes.set(scope, state);
  }

  adopt({ stored, loss, recordedAt }: FoundState): void {
    this.#id = stored.id;
    this.#revision = stored.revision;
    this.#attempted = Math.max(this.#attempted, stored.revision);
    this.#lost = stored.lost;
    this.#scopes = new Map(stored.scopes);
    this.#blank = emptyScopeState(this.#lost);
    const ahead = recordedAt !== null && recordedAt > this.#clock.now();
    const behindMs = ahead ? this.#clock.continueFrom(recordedAt).behindMs : 0;
    if (loss !== null) this.markAll(loss);
    const now = this.#clock.now();
    const gapMs = now - (recordedAt ?? now);
    this.#each((state) =>
      behindMs > 0 ? markBehind(state, now + behindMs, now) : markSetRight(state, gapMs, now),
    );
  }

  /** Nobody knows which scopes there were, so one that turns up new is marked too. */
  markAll(reason: LossReason): void {
    this.#lost = { reason, at: this.#clock.now(), recordedAt: null };
    this.#blank = emptyScopeState(this.#lost);
    const loss = this.#lost;
    // A marker of the clock that nobody has acted on yet says more than any other.
    this.#each((state) => (state.hot.lost?.reason === 'clock' ? state : marked(state, loss)));
  }

  #each(change: (state: ScopeState) => ScopeState): void {
    for (const [scope, state] of this.#scopes) this.#scopes.set(scope, change(state));
  }
}

import { invariant } from '../platform/invariant.js';
import { TidegateError } from '../platform/tidegate-error.js';
import { turnEnds } from '../platform/timers.js';
import { faultOf } from './parse-state.js';
import type { Instant, ScopeState } from './scope-state.js';
import type { Decide } from './state-repository.js';

/** Callers that may wait for a commit; beyond it the store is too slow to be of use to them. */
export const MAX_WAITING = 10_000;
/** Updates folded into one commit: bounds the time the event loop is busy deciding them. */
export const MAX_FOLD = 1_024;

/**
 * With so many callers in the last commit, more are on their way: the next one waits for them until the
 * turn of the event loop ends. A write costs the processor as much as two or three small calls do, and
 * under load the turn takes longer than the write.
 */
const CROWD = 4;

/** The updates of one commit, as the adapter sees them. */
export interface Fold {
  /**
   * Runs every `decide` in order, each on what those before it left, and returns the scopes that
   * changed. To be called again for another attempt of the same commit, on the state read anew.
   *
   * @param load The latest durable state of a scope.
   */
  decide(load: (scope: string) => ScopeState, now: Instant): ReadonlyMap<string, ScopeState>;
}

/**
 * Resolves once what the fold decided is durable; what it rejects with, every caller in the fold
 * gets.
 */
export type Commit = (fold: Fold) => Promise<void>;

/**
 * Group commit: while one write is in flight the next updates gather, and then share one write.
 *
 * - One commit at a time. There is no deadline here: a commit that hangs holds back those behind
 *   it, since starting another would break the order. Callers have deadlines of their own.
 * - Every caller of a fold waits for its commit, even one whose update changed nothing: it may have
 *   seen what is not durable yet. An adapter that is given no changes resolves at once.
 */
export class UpdateQueue {
  readonly #commit: Commit;
  readonly #gather: () => Promise<void>;
  #crowded = false;
  #waiting: Update[] = [];
  #chores: (() => Promise<void>)[] = [];
  #running: Promise<void> | null = null;
  #closed = false;

  /** `gather`: resolves when the turn ends; what keeps time of its own has none. */
  constructor(commit: Commit, gather: () => Promise<void> = turnEnds) {
    this.#commit = commit;
    this.#gather = gather;
  }

  /**
   * See StateRepository.update. Rejects with STATE_UNAVAILABLE if too many wait, or STATE_CLOSED.
   */
  update<Outcome>(scope: string, decide: Decide<Outcome>): Promise<Outcome> {
    if (this.#closed) return Promise.reject(closedError());
    if (this.#waiting.length >= MAX_WAITING) return Promise.reject(fullError());
    return new Promise<Outcome>((resolve, reject) => {
      this.#waiting.push(new Update(scope, decide, resolve as (outcome: unknown) => void, reject));
      this.#running ??= this.#run();
    });
  }

  /** Runs an adapter's own work between two commits. It must not reject. */
  between(chore: () => Promise<void>): void {
    if (this.#closed) return;
    this.#chores.push(chore);
    this.#running ??= this.#run();
  }

  /** @throws TidegateError STATE_CLOSED after `close`. */
  assertOpen(): void {
    if (this.#closed) throw closedError();
  }

  /** Takes no more updates, and resolves when those it has are settled. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    do {
      // One turn for the callers that the last commit released, and those of this tick: without it
      // they would split into two groups that take turns.
      await (this.#crowded ? this.#gather() : Promise.resolve());
      const chore = this.#chores.shift();
      if (chore !== undefined) await chore();
      else await this.#commitNext();
    } while (this.#waiting.length > 0 || this.#chores.length > 0);
    this.#running = null;
  }

  async #commitNext(): Promise<void> {
    const updates = this.#waiting.splice(0, MAX_FOLD);
    this.#crowded = updates.length >= CROWD;
    try {
      await this.#commit(new UpdateFold(updates));
    } catch (error) {
      for (const update of updates) update.reject(error);
      return;
    }
    for (const update of updates) update.settle();
  }
}

/** One caller's update and what the latest attempt made of it. */
class Update {
  #thrown = false;
  #result: unknown;

  constructor(
    readonly scope: string,
    readonly decide: Decide<unknown>,
    readonly resolve: (outcome: unknown) => void,
    readonly reject: (error: unknown) => void,
  ) {}

  /**
   * The state after it: the one before it, if it throws or returns what could not be read again.
   */
  apply(before: ScopeState, now: Instant, checked: boolean): ScopeState {
    try {
      const { state, outcome } = this.decide(before, now);
      invariant(typeof state === 'object' && state, 'decide must return a state, and at once');
      if (checked && state !== before) assertSound(this.scope, state);
      this.#thrown = false;
      this.#result = outcome;
      return state;
    } catch (error) {
      this.#thrown = true;
      this.#result = error;
      return before;
    }
  }

  settle(): void {
    if (this.#thrown) this.reject(this.#result);
    else this.resolve(this.#result);
  }
}

class UpdateFold implements Fold {
  readonly #updates: readonly Update[];

  constructor(updates: readonly Update[]) {
    this.#updates = updates;
  }

  decide(load: (scope: string) => ScopeState, now: Instant): ReadonlyMap<string, ScopeState> {
    const changed = this.#decide(load, now, false);
    // What can't be read again must not be saved. Checking the result of a fold costs 2 to 10 µs of
    // the 200 that a write takes; checking every update of a full fold would cost more than the
    // write. So the one to blame is looked for only when there is one.
    const sound = [...changed].every(([scope, state]) => faultOf(state, load(scope)) === null);
    return sound ? changed : this.#decide(load, now, true);
  }

  #decide(
    load: (scope: string) => ScopeState,
    now: Instant,
    checked: boolean,
  ): Map<string, ScopeState> {
    const changed = new Map<string, ScopeState>();
    let scope: string | null = null;
    let state: ScopeState | null = null;
    for (const update of this.#updates) {
      // Most folds are about one scope.
      if (update.scope !== scope || state === null) {
        scope = update.scope;
        state = changed.get(scope) ?? load(scope);
      }
      const after = update.apply(state, now, checked);
      if (after === state) continue;
      changed.set(scope, after);
      state = after;
    }
    return changed;
  }
}

function assertSound(scope: string, state: ScopeState): void {
  const fault = faultOf(state);
  invariant(fault === null, `the state of scope "${scope}" can't be saved: ${fault}`);
}

export function closedError(): TidegateError {
  return new TidegateError('STATE_CLOSED', 'the store is closed');
}

function fullError(): TidegateError {
  const message = `${MAX_WAITING} updates wait for the store already`;
  return new TidegateError('STATE_UNAVAILABLE', message, {
    hint: 'look at the latency of its disk or database',
  });
}

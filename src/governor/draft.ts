import type { LimitRules } from '../budget/settings.js';
import type {
  ColdState,
  EventRecord,
  HotState,
  Instant,
  ScopeState,
} from '../state/scope-state.js';
import { type Occasion, recordsOf, remember, withMoves } from './event-records.js';
import type { GovernorEvent } from './events.js';

/** The policies' configuration for one scope. */
export interface ScopeRules {
  readonly name: string;
  /** At least one, in the order of /status. */
  readonly limits: readonly LimitRules[];
}

/** What `decide` hands back to the store, and the events to report once it is durable. */
export interface Decision<Outcome> {
  readonly state: ScopeState;
  readonly outcome: { readonly value: Outcome; readonly happened: readonly Happened[] };
}

export interface Happened {
  readonly event: GovernorEvent;
  readonly record: EventRecord;
}

/**
 * One decision being made: the state as it becomes, step by step, and what happened on the way. The
 * state itself stays immutable, and the very same reference comes out if nothing changed.
 */
export class Draft {
  readonly events: GovernorEvent[] = [];
  readonly #before: ScopeState;

  constructor(
    public state: ScopeState,
    readonly now: Instant,
    readonly rules: readonly LimitRules[],
  ) {
    this.#before = state;
  }

  get hot(): HotState {
    return this.state.hot;
  }

  get cold(): ColdState {
    return this.state.cold;
  }

  setHot(change: Partial<HotState>): void {
    if (differs(this.state.hot, change)) {
      this.state = { ...this.state, hot: { ...this.state.hot, ...change } };
    }
  }

  setCold(change: Partial<ColdState>): void {
    if (differs(this.state.cold, change)) {
      this.state = { ...this.state, cold: { ...this.state.cold, ...change } };
    }
  }

  report(event: GovernorEvent): void {
    this.events.push(event);
  }

  /** What happened is kept in the state itself, and so is durable with the change it tells of. */
  decide<Outcome>(value: Outcome, occasion: Occasion): Decision<Outcome> {
    if (this.state === this.#before && this.events.length === 0) {
      return { state: this.state, outcome: { value, happened: [] } };
    }
    const change = { before: this.#before, after: this.state, rules: this.rules, now: this.now };
    const events = withMoves(this.events, change);
    const records = recordsOf(events, change, occasion);
    this.setCold({ events: remember(this.cold.events, records, this.rules) });
    const happened = events.map((event, index) => ({
      event,
      record: records[index] as EventRecord,
    }));
    return { state: this.state, outcome: { value, happened } };
  }
}

function differs<Part extends object>(part: Part, change: Partial<Part>): boolean {
  for (const key of Object.keys(change) as (keyof Part)[]) {
    if (part[key] !== change[key]) return true;
  }
  return false;
}

import type { LimitRules } from '../budget/settings.js';
import type { ColdState, HotState, Instant, ScopeState } from '../state/scope-state.js';
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
  readonly outcome: { readonly value: Outcome; readonly events: readonly GovernorEvent[] };
}

/**
 * One decision being made: the state as it becomes, step by step, and what happened on the way. The
 * state itself stays immutable, and the very same reference comes out if nothing changed.
 */
export class Draft {
  readonly events: GovernorEvent[] = [];

  constructor(
    public state: ScopeState,
    readonly now: Instant,
    readonly rules: readonly LimitRules[],
  ) {}

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

  decide<Outcome>(value: Outcome): Decision<Outcome> {
    return { state: this.state, outcome: { value, events: this.events } };
  }
}

function differs<Part extends object>(part: Part, change: Partial<Part>): boolean {
  for (const key of Object.keys(change) as (keyof Part)[]) {
    if (part[key] !== change[key]) return true;
  }
  return false;
}

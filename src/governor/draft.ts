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

/** To be reported once it is durable. */
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
    const hot = changed(this.state.hot, change);
    if (hot !== this.state.hot) this.state = { hot, cold: this.state.cold };
  }

  setCold(change: Partial<ColdState>): void {
    const cold = changed(this.state.cold, change);
    if (cold !== this.state.cold) this.state = { hot: this.state.hot, cold };
  }

  report(event: GovernorEvent): void {
    this.events.push(event);
  }

  /** What happened is kept in the state itself, and so is durable with the change it tells of. */
  conclude(occasion: Occasion): readonly Happened[] {
    if (this.state === this.#before && this.events.length === 0) return NOTHING;
    const change = { before: this.#before, after: this.state, rules: this.rules, now: this.now };
    const events = withMoves(this.events, change, occasion.instance);
    if (events.length === 0) return NOTHING;
    const records = recordsOf(events, change, occasion);
    this.setCold({ events: remember(this.cold.events, records, this.rules) });
    return events.map((event, index) => ({ event, record: records[index] as EventRecord }));
  }
}

const NOTHING: readonly Happened[] = [];

/** The part itself if the change says nothing new. */
function changed<Part extends object>(part: Part, change: Partial<Part>): Part {
  let result = part;
  for (const key in change) {
    if (change[key] === part[key]) continue;
    // One copy, however much changes.
    if (result === part) result = { ...part };
    result[key] = change[key] as Part[typeof key];
  }
  return result;
}

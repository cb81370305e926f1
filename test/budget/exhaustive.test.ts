import { describe, it } from 'vitest';
import type { Charge } from '../../src/budget/budget-controller.js';
import type { WindowKind } from '../../src/budget/settings.js';
import { BOUNDS } from '../../src/state/scope-state.js';
import { Book, CONTROLLER, rule, tokens } from './support.js';

/**
 * All sequences of up to six events on a budget of three tokens, against a model that keeps every request
 * in a list and counts anew each time.
 */

const BUDGET = 3;
const WINDOW_MS = 58_000;
/** A cell of a sliding window; what it holds frees as a whole, so up to this much late. */
const CELL_MS = WINDOW_MS / (BOUNDS.cells - 2);
const LONGEST = 6;

const EVENTS = ['ask 1', 'ask 2', 'settle 0', 'settle 2', 'crash', 'pass'] as const;
type Event = (typeof EVENTS)[number];

interface Asked {
  readonly at: number;
  amount: number;
  settled: boolean;
}

/** Every request by itself; a fixed window is those since it opened, a sliding one those of its length. */
class Model {
  requests: Asked[] = [];
  openedAt: number | null = null;

  constructor(private readonly kind: WindowKind) {}

  used(now: number): number {
    if (this.kind === 'fixed' && this.openedAt !== null && now >= this.openedAt + WINDOW_MS) {
      this.openedAt = null;
      this.requests = this.requests.map((request) => ({ ...request, settled: true, amount: 0 }));
    }
    if (this.kind === 'sliding') {
      this.requests = this.requests.filter(({ at }) => at + CELL_MS + WINDOW_MS > now);
    }
    return this.requests.reduce((sum, { amount }) => sum + amount, 0);
  }

  ask(amount: number, now: number): boolean {
    if (this.used(now) + Math.min(amount, BUDGET) > BUDGET) return false;
    this.openedAt ??= now;
    this.requests.push({ at: now, amount, settled: false });
    return true;
  }
}

function play(kind: WindowKind, events: readonly Event[]): void {
  const book = new Book([rule(BUDGET, { kind, windowMs: WINDOW_MS })]).roll(0);
  const model = new Model(kind);
  const open: { charge: Charge; asked: Asked }[] = [];
  let now = 0;
  // Not by expect: it is too slow for a million checks.
  const hold = (held: boolean, claim: string, event: Event) => {
    if (!held) throw new Error(`not ${claim} after "${event}" of ${events.join(', ')}`);
  };
  for (const event of events) {
    // Nothing happens at the same instant, and half a window takes one event.
    now += event === 'pass' ? WINDOW_MS / 2 : CELL_MS;
    book.roll(now);
    const [what, figure] = event.split(' ');
    const amount = Number(figure);
    if (what === 'ask') {
      const outcome = book.charge(amount, now);
      const charged = outcome.kind === 'charged';
      hold(charged === model.ask(amount, now), 'the same admission', event);
      if (outcome.kind === 'refused') hold(outcome.until > now, 'a wait that is to come', event);
      else open.push({ charge: outcome.charge, asked: model.requests.at(-1) as Asked });
    } else if (what === 'settle') {
      const [first] = open.splice(0, 1);
      if (first === undefined) continue;
      model.used(now);
      const held = model.requests.includes(first.asked);
      if (held) first.asked.amount = amount;
      // What exceeds the estimate of a window that is over counts in the present one.
      else if (amount > (first.charge['tokens']?.amount ?? 0)) return;
      book.limits = CONTROLLER.settle(book.limits, book.rules, first.charge, tokens(amount), 'a');
    } else if (what === 'crash') {
      // What was in flight stays charged.
      open.length = 0;
      book.limits = CONTROLLER.orphan(book.limits, book.rules, 'a');
    }
    const { used, orphaned } = book.limit;
    hold(used === model.used(now), 'the same use', event);
    hold(orphaned <= used, 'nothing orphaned that is not used', event);
    hold(what === 'settle' || used <= BUDGET + 2, 'no more than the budget admitted', event);
  }
}

function* sequences(length: number): Generator<readonly Event[]> {
  if (length === 0) return yield [];
  for (const before of sequences(length - 1)) for (const event of EVENTS) yield [...before, event];
}

describe.each<WindowKind>(['fixed', 'sliding'])('a %s window', (kind) => {
  it(`agrees with a list of all requests after any ${LONGEST} events`, () => {
    // Every shorter sequence is the beginning of one of these.
    for (const events of sequences(LONGEST)) play(kind, events);
  });
});

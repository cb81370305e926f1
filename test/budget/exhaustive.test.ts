import { describe, it } from 'vitest';
import type { Charge } from '../../src/budget/budget-controller.js';
import { limitOf } from '../../src/budget/limits.js';
import { rulesFor } from '../../src/budget/model-pools.js';
import type { WindowKind } from '../../src/budget/settings.js';
import { BOUNDS } from '../../src/state/scope-state.js';
import { Book, CONTROLLER, rule, tokens } from './support.js';

/**
 * All sequences of up to six events on a budget of three tokens, against a model that keeps every request
 * in a list and counts anew each time; once more with a pool beside it, which only some requests are of.
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

  constructor(
    private readonly kind: WindowKind,
    private readonly budget = BUDGET,
  ) {}

  used(now: number): number {
    if (this.kind === 'fixed' && this.openedAt !== null && now >= this.openedAt + WINDOW_MS) {
      this.openedAt = null;
      this.requests = this.requests.map((request) => ({ ...request, settled: true, amount: 0 }));
    }
    if (this.kind === 'sliding') {
      this.requests = this.requests.filter(({ at }) => at + CELL_MS + WINDOW_MS > now);
    }
    if (this.kind === 'bucket') return Math.ceil(this.level(now));
    return this.requests.reduce((sum, { amount }) => sum + amount, 0);
  }

  private level(now: number): number {
    let level = 0;
    let last = 0;
    for (const { at, amount } of [...this.requests, { at: now, amount: 0 }]) {
      level = Math.max(0, level - ((at - last) * BUDGET) / WINDOW_MS) + amount;
      last = at;
    }
    return level;
  }

  ask(amount: number, now: number): boolean {
    if (!this.fits(amount, now)) return false;
    this.take(amount, now);
    return true;
  }

  fits(amount: number, now: number): boolean {
    return this.used(now) + Math.min(amount, this.budget) <= this.budget;
  }

  take(amount: number, now: number): Asked {
    this.openedAt ??= now;
    const asked = { at: now, amount, settled: false };
    this.requests.push(asked);
    return asked;
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
      book.settleCharge(first.charge, amount, now);
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

/**
 * A bucket gives back no more than has not drained, so it may hold more than the model, and never less: it admits
 * nothing that the model would refuse, and the same where nothing was given back.
 */
function playBucket(events: readonly Event[]): void {
  const bucket = rule(BUDGET, { kind: 'bucket', windowMs: WINDOW_MS });
  const book = new Book([bucket]).roll(0);
  const model = new Model('bucket');
  const open: { charge: Charge; asked: Asked }[] = [];
  let now = 0;
  let exact = true;
  const hold = (held: boolean, claim: string, event: Event) => {
    if (!held) throw new Error(`not ${claim} after "${event}" of ${events.join(', ')}`);
  };
  for (const event of events) {
    now += event === 'pass' ? WINDOW_MS / 2 : CELL_MS;
    book.roll(now);
    const [what, figure] = event.split(' ');
    const amount = Number(figure);
    if (what === 'ask') {
      const outcome = book.charge(amount, now);
      const fits = model.used(now) + amount <= BUDGET;
      if (outcome.kind === 'charged') {
        hold(fits, 'room in the model', event);
        const asked = { at: now, amount, settled: false };
        model.requests.push(asked);
        open.push({ charge: outcome.charge, asked });
      } else {
        hold(!fits || !exact, 'the same refusal', event);
        hold(outcome.until > now, 'a wait that is to come', event);
      }
    } else if (what === 'settle') {
      const [first] = open.splice(0, 1);
      if (first === undefined) continue;
      if (amount < first.asked.amount) exact = false;
      first.asked.amount = amount;
      book.settleCharge(first.charge, amount, now);
    } else if (what === 'crash') {
      open.length = 0;
      book.limits = CONTROLLER.orphan(book.limits, book.rules, 'a');
    }
    const { used, orphaned } = book.limit;
    // A raise counts whole, though some of it would have drained by now.
    exact &&= what !== 'settle';
    hold(used >= model.used(now), 'as much as the model holds', event);
    hold(!exact || used === model.used(now), 'the same level', event);
    hold(orphaned <= used, 'nothing orphaned that is not used', event);
  }
}

const POOL_EVENTS = ['opus', 'other', 'unknown', 'settle 0', 'settle 2', 'crash', 'pass'] as const;

/** Two limits, one of them a pool: all requests by themselves, each with the limits it is charged to. */
function playPools(events: readonly (typeof POOL_EVENTS)[number][]): void {
  const shared = rule(BUDGET, { name: 'shared', windowMs: WINDOW_MS });
  const pool = rule(2, { name: 'pool', windowMs: WINDOW_MS, models: ['*opus*'] });
  const book = new Book([shared, pool]).roll(0);
  const models = { shared: new Model('fixed', BUDGET), pool: new Model('fixed', 2) };
  const open: { charge: Charge; asked: Asked[] }[] = [];
  let now = 0;
  for (const event of events) {
    now += event === 'pass' ? WINDOW_MS / 2 : CELL_MS;
    book.roll(now);
    const usedBefore = [models.shared.used(now), models.pool.used(now)];
    if (event === 'opus' || event === 'other' || event === 'unknown') {
      const names = event === 'other' ? (['shared'] as const) : (['shared', 'pool'] as const);
      const own = rulesFor(book.rules, event === 'unknown' ? '' : event);
      const fits = names.every((name) => models[name].fits(1, now));
      const request = { cost: tokens(1), instance: 'a', cautious: false };
      const { limits, outcome } = CONTROLLER.charge(book.limits, own, request, now);
      book.limits = limits;
      if ((outcome.kind === 'charged') !== fits) throw new Error(`${event} of ${events.join()}`);
      if (outcome.kind === 'charged') {
        const asked = names.map((name) => models[name].take(1, now));
        open.push({ charge: outcome.charge, asked });
      }
    } else if (event === 'settle 0' || event === 'settle 2') {
      const [first] = open.splice(0, 1);
      if (first === undefined) continue;
      const amount = event === 'settle 0' ? 0 : 2;
      const all = [...models.shared.requests, ...models.pool.requests];
      if (first.asked.some((asked) => !all.includes(asked))) return;
      for (const asked of first.asked) asked.amount = amount;
      book.settleCharge(first.charge, amount, now);
    } else if (event === 'crash') {
      open.length = 0;
      book.limits = CONTROLLER.orphan(book.limits, book.rules, 'a');
    }
    const used = [limitOf(book.limits, 'shared').used, limitOf(book.limits, 'pool').used];
    const expected = [models.shared.used(now), models.pool.used(now)];
    if (used.join() !== expected.join()) {
      throw new Error(`used ${used.join()}, not ${expected.join()}, after ${events.join()}`);
    }
    if (event === 'other' && used[1] !== usedBefore[1]) throw new Error('a pool of others');
  }
}

function* sequences<Name>(events: readonly Name[], length: number): Generator<readonly Name[]> {
  if (length === 0) return yield [];
  for (const before of sequences(events, length - 1)) {
    for (const event of events) yield [...before, event];
  }
}

describe.each<WindowKind>(['fixed', 'sliding'])('a %s window', (kind) => {
  it(`agrees with a list of all requests after any ${LONGEST} events`, () => {
    // Every shorter sequence is the beginning of one of these.
    for (const events of sequences(EVENTS, LONGEST)) play(kind, events);
  });
});

describe('a bucket', () => {
  it(`holds no less than a list of all requests after any ${LONGEST} events`, () => {
    for (const events of sequences(EVENTS, LONGEST)) playBucket(events);
  });
});

describe('a limit and a model pool', () => {
  it('are charged together or not at all, after any five events', () => {
    for (const events of sequences(POOL_EVENTS, 5)) playPools(events);
  });
});

import { describe, expect, it } from 'vitest';
import { afterTurn } from '../../src/platform/timers.js';
import { hasCode, TidegateError } from '../../src/platform/tidegate-error.js';
import { emptyScopeState } from '../../src/state/scope-state.js';
import { type Fold, MAX_FOLD, MAX_WAITING, UpdateQueue } from '../../src/state/update-queue.js';
import { increment, look, setSequence, withSequence } from '../support/scope-states.js';

/** A store of one scope whose commits end when and how the test says. */
class Desk {
  state = emptyScopeState();
  /** How many increments each commit had. */
  readonly folds: number[] = [];
  readonly queue: UpdateQueue;
  #open: { resolve: () => void; reject: (error: unknown) => void }[] = [];
  /** Commits end by themselves, and at once. */
  automatic = false;

  constructor(gather?: () => Promise<void>) {
    this.queue = new UpdateQueue((fold) => this.#commit(fold), gather);
  }

  get inFlight(): number {
    return this.#open.length;
  }

  end(error?: unknown): void {
    const commit = this.#open.shift();
    if (error === undefined) commit?.resolve();
    else commit?.reject(error);
  }

  async #commit(fold: Fold): Promise<void> {
    const decided = fold.decide(() => this.state, 0).get('a') ?? this.state;
    this.folds.push(decided.hot.sequence - this.state.hot.sequence);
    if (!this.automatic) {
      await new Promise<void>((resolve, reject) => this.#open.push({ resolve, reject }));
    }
    this.state = decided;
  }
}

/** Long enough for everything that waits for nothing but its turn. */
async function turns(): Promise<void> {
  for (let n = 0; n < 20; n += 1) await Promise.resolve();
}

describe('UpdateQueue', () => {
  it('gathers updates while a commit is in flight and folds them into the next', async () => {
    const desk = new Desk();
    const first = desk.queue.update('a', increment);
    await turns();
    const later = [1, 2, 3].map(() => desk.queue.update('a', increment));
    await turns();
    expect(desk.folds).toEqual([1]);
    desk.end();
    expect(await first).toBe(0);
    await turns();
    expect(desk.folds).toEqual([1, 3]);
    desk.end();
    expect(await Promise.all(later)).toEqual([1, 2, 3]);
  });

  it('folds the updates of one tick into the first commit already', async () => {
    const desk = new Desk();
    for (let n = 0; n < 5; n += 1) void desk.queue.update('a', increment);
    await turns();
    expect(desk.folds).toEqual([5]);
    desk.end();
  });

  it('waits for the end of the turn where many came before, and for nothing where few did', async () => {
    let gathered = 0;
    const desk = new Desk(async () => void (gathered += 1));
    desk.automatic = true;
    for (const [callers, waits] of [
      [3, 0],
      [8, 0],
      [1, 1],
      [1, 0],
    ] as const) {
      const before = gathered;
      await Promise.all(Array.from({ length: callers }, () => desk.queue.update('a', increment)));
      expect(gathered - before).toBe(waits);
    }
  });

  it('takes along whoever comes in the same turn', async () => {
    const desk = new Desk();
    desk.automatic = true;
    await Promise.all(Array.from({ length: 8 }, () => desk.queue.update('a', increment)));
    const first = desk.queue.update('a', increment);
    const second = new Promise<void>((resolve) => afterTurn(resolve)).then(() =>
      desk.queue.update('a', increment),
    );
    expect(await Promise.all([first, second])).toEqual([8, 9]);
    expect(desk.folds).toEqual([8, 2]);
  });

  it('keeps callers that it releases together in one fold', async () => {
    const desk = new Desk();
    desk.automatic = true;
    const caller = async (start: number) => {
      for (let n = 0; n < start; n += 1) await Promise.resolve();
      for (let n = 0; n < 10; n += 1) await desk.queue.update('a', increment);
    };
    await Promise.all(Array.from({ length: 64 }, (_, index) => caller(index % 2)));
    expect(desk.state.hot.sequence).toBe(640);
    expect(desk.folds.length).toBeLessThanOrEqual(12);
  });

  it('never starts a commit beside one that hangs, and bounds those who wait for it', async () => {
    const desk = new Desk();
    const first = desk.queue.update('a', increment);
    await turns();
    const waiting = Array.from({ length: MAX_WAITING }, () => desk.queue.update('a', increment));
    const refused = await desk.queue.update('a', increment).catch((error: unknown) => error);
    expect(hasCode(refused, 'STATE_UNAVAILABLE')).toBe(true);
    await turns();
    expect(desk.inFlight).toBe(1);
    expect(desk.folds).toEqual([1]);
    desk.automatic = true;
    desk.end();
    expect(await first).toBe(0);
    expect(await Promise.all(waiting)).toEqual(waiting.map((_, index) => index + 1));
  });

  it('bounds a fold', async () => {
    const desk = new Desk();
    desk.automatic = true;
    const count = 2 * MAX_FOLD + 1;
    await Promise.all(Array.from({ length: count }, () => desk.queue.update('a', increment)));
    expect(desk.folds).toEqual([MAX_FOLD, MAX_FOLD, 1]);
  });

  it('rejects everything in a fold that failed, and goes on from what is durable', async () => {
    const desk = new Desk();
    const failure = new TidegateError('STATE_UNAVAILABLE', 'the disk is full');
    const fold = Promise.allSettled([
      desk.queue.update('a', increment),
      desk.queue.update('a', look),
      desk.queue.update('a', increment),
    ]);
    await turns();
    const next = desk.queue.update('a', increment);
    desk.end(failure);
    expect((await fold).map((result) => result.status === 'rejected' && result.reason)).toEqual([
      failure,
      failure,
      failure,
    ]);
    await turns();
    desk.end();
    expect(await next).toBe(0);
  });

  it('tells nobody anything before the commit has ended, whatever they did', async () => {
    const desk = new Desk();
    const told: string[] = [];
    const fails = () => {
      throw new Error('no');
    };
    void desk.queue.update('a', increment).then(() => told.push('changed'));
    void desk.queue.update('a', look).then(() => told.push('looked'));
    desk.queue.update('a', fails).catch(() => told.push('threw'));
    await turns();
    expect(told).toEqual([]);
    desk.end();
    await turns();
    expect(told.toSorted()).toEqual(['changed', 'looked', 'threw']);
  });

  it('decides anew at every attempt of a commit, and answers with the last', async () => {
    const states = [withSequence(emptyScopeState(), 5), withSequence(emptyScopeState(), 50)];
    const queue = new UpdateQueue(async (fold) => {
      for (const state of states) fold.decide(() => state, 0);
    });
    const threwAtFirst = queue.update('a', (state) => {
      if (state.hot.sequence < 50) throw new Error('too low');
      return { state, outcome: 'fine' };
    });
    expect(await Promise.all([queue.update('a', increment), threwAtFirst])).toEqual([50, 'fine']);
  });

  it('blames a state that could not be read again on the update that made it', async () => {
    const desk = new Desk();
    desk.automatic = true;
    const results = await Promise.allSettled([
      desk.queue.update('a', increment),
      desk.queue.update('a', setSequence(Number.POSITIVE_INFINITY)),
      desk.queue.update('a', (async () => undefined) as never),
      desk.queue.update('a', increment),
    ]);
    expect(results.map((result) => result.status)).toEqual([
      'fulfilled',
      'rejected',
      'rejected',
      'fulfilled',
    ]);
    expect(String((results[1] as PromiseRejectedResult).reason)).toMatch(/scope "a".*hot.sequence/);
    expect(desk.state.hot.sequence).toBe(2);
  });

  it('does an adapter’s chores between commits, never beside one', async () => {
    const desk = new Desk();
    const done: string[] = [];
    const update = desk.queue.update('a', increment).then(() => done.push('update'));
    await turns();
    desk.queue.between(async () => {
      expect(desk.inFlight).toBe(0);
      done.push('chore');
    });
    await turns();
    expect(done).toEqual([]);
    desk.end();
    await update;
    await turns();
    expect(done).toEqual(['update', 'chore']);
  });

  it('closes when all that it accepted is settled', async () => {
    const desk = new Desk();
    let closed = false;
    const accepted = desk.queue.update('a', increment);
    const closing = desk.queue.close().then(() => (closed = true));
    const late: unknown = await desk.queue.update('a', look).catch((error: unknown) => error);
    expect(hasCode(late, 'STATE_CLOSED')).toBe(true);
    await turns();
    expect(closed).toBe(false);
    desk.end();
    expect(await accepted).toBe(0);
    await closing;
  });
});

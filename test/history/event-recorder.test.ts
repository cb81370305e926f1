import { describe, expect, it } from 'vitest';
import { EventFeed } from '../../src/history/event-feed.js';
import { EventRecorder } from '../../src/history/event-recorder.js';
import type { EventJournal, JournalEntry } from '../../src/state/event-journal.js';
import type { StateRepository } from '../../src/state/state-repository.js';
import { limit, SCOPE, SECOND, Town } from '../governor/support.js';
import { MemoryEventJournal } from '../support/memory-journal.js';

const ALL = { stream: 'event', scope: null, from: 0, most: 1_000 } as const;

/** A journal that is away while told so. */
class ShakyJournal extends MemoryEventJournal {
  fails = false;
  appends = 0;

  override async append(entries: readonly JournalEntry[]): Promise<void> {
    this.appends += 1;
    if (this.fails) throw new Error('away');
    return super.append(entries);
  }
}

/** A town whose events are recorded as in production; `recorder` is renewed with the process. */
async function openTown(journal: EventJournal = new ShakyJournal()) {
  const town = await Town.open({ limits: [limit({ budget: 10_000 })] });
  const make = (repository: StateRepository) => {
    const parts = { repository, journal, scopes: [SCOPE], timers: town.time };
    return { recorder: new EventRecorder(parts), feed: new EventFeed(parts) };
  };
  let { recorder, feed } = make(town.repository);
  town.onRecord = (record) => {
    recorder.take(SCOPE, record);
    feed.wake();
  };
  return {
    town,
    journal,
    get recorder() {
      return recorder;
    },
    get feed() {
      return feed;
    },
    /** A crash takes along what the recorder has not written. */
    async crash() {
      town.onRecord = () => {};
      await town.crash();
      ({ recorder, feed } = make(town.repository));
    },
    idsInState: async () =>
      (await town.repository.read(SCOPE)).state.cold.events.map(({ id }) => id),
    idsInJournal: async () => (await journal.read(ALL)).map(({ id }) => id),
  };
}

describe('the event recorder', () => {
  it('writes what happens, many at a time, and not with the decision', async () => {
    const { town, journal, idsInState, idsInJournal } = await openTown();
    await town.refuse(await town.admit());
    expect((journal as ShakyJournal).appends, 'nothing before its time').toBeLessThanOrEqual(1);
    await town.pass(SECOND);
    expect(await idsInJournal()).toEqual(
      (await idsInState()).slice(-(await idsInJournal()).length),
    );
    expect((await idsInJournal()).length).toBeGreaterThanOrEqual(2);
  });

  it('copies after a crash what was not written: no event is lost, none is there twice', async () => {
    const world = await openTown();
    const { town, idsInState, idsInJournal } = world;
    await town.refuse(await town.admit());
    await world.crash();
    expect(await idsInJournal(), 'the crash cost something').not.toEqual(await idsInState());
    await world.recorder.catchUp();
    await world.recorder.catchUp();
    expect(await idsInJournal()).toEqual(await idsInState());
  });

  it('loses them if it does not look at the state: the check itself', async () => {
    const world = await openTown();
    await world.town.refuse(await world.town.admit());
    await world.crash();
    await world.recorder.flush();
    expect(await world.idsInJournal()).not.toEqual(await world.idsInState());
  });

  it('makes up for a journal that was away, and asks for nothing when nothing is missing', async () => {
    const world = await openTown();
    const journal = world.journal as ShakyJournal;
    journal.fails = true;
    await world.town.refuse(await world.town.admit());
    await world.town.pass(SECOND);
    await expect(world.recorder.catchUp()).rejects.toThrow('away');
    journal.fails = false;
    await world.recorder.catchUp();
    expect(await world.idsInJournal()).toEqual(await world.idsInState());
    const { appends } = journal;
    await world.recorder.catchUp();
    expect(journal.appends).toBe(appends);
  });
});

it('a flood of events waits in a bounded queue, and the next look at the state finds the rest', async () => {
  const town = await Town.open({ limits: [limit({ budget: 10_000 })] });
  const journal = new ShakyJournal();
  const parts = { repository: town.repository, journal, scopes: [SCOPE], timers: town.time };
  const recorder = new EventRecorder(parts);
  town.onRecord = (record) => recorder.take(SCOPE, record);
  for (let n = 0; n < 1_000; n += 1) await town.governor.clearCooldown(SCOPE);
  await recorder.flush();
  expect((await journal.read(ALL)).length).toBeLessThan(500);
  await recorder.catchUp();
  const kept = new Set((await journal.read(ALL)).map(({ id }) => id));
  const { events } = (await town.repository.read(SCOPE)).state.cold;
  expect(events.filter(({ id }) => !kept.has(id))).toEqual([]);
});

describe('the event feed', () => {
  it('answers at once with what was not seen, and waits for the next', async () => {
    const { town, feed } = await openTown();
    const { next } = await feed.since([SCOPE], 0, 100);
    let told: string[] | null = null;
    void feed.after([SCOPE], next, 25 * SECOND).then(({ events }) => {
      told = events.map(({ kind }) => kind);
    });
    await town.pass(10 * SECOND);
    expect(told).toBeNull();
    await town.refuse(await town.admit());
    await town.pass(0);
    expect(told).toContain('cooldown-began');
    const missed = await feed.after([SCOPE], next, 0);
    expect(missed.events.map(({ kind }) => kind)).toEqual(
      expect.arrayContaining(['cooldown-began', 'sample']),
    );
    expect((await feed.after([SCOPE], missed.next, 0)).events).toEqual([]);
  });

  it('answers with nothing when nothing came in time, and when it closes', async () => {
    const { town, feed } = await openTown();
    const { next } = await feed.since([SCOPE], 0, 100);
    const ends: number[] = [];
    const late = feed.after([SCOPE], next, SECOND).then(({ events }) => ends.push(events.length));
    await town.pass(SECOND);
    await late;
    const closed = feed.after([SCOPE], next, SECOND).then(({ events }) => ends.push(events.length));
    await town.pass(0);
    feed.close();
    await closed;
    expect(ends).toEqual([0, 0]);
  });

  it('lets a bounded number of callers wait; one more is answered at once, with nothing', async () => {
    const { town, feed } = await openTown();
    const { next } = await feed.since([SCOPE], 0, 100);
    const answers: number[] = [];
    for (let caller = 0; caller < 100; caller += 1) {
      void feed.after([SCOPE], next, 25 * SECOND).then(({ events }) => answers.push(events.length));
    }
    await town.pass(SECOND);
    expect(answers.length).toBeGreaterThan(20);
    expect(answers.length).toBeLessThan(50);
    expect(answers.every((count) => count === 0)).toBe(true);
    const waited = 100 - answers.length;
    await town.refuse(await town.admit());
    expect(answers.slice(-waited).every((count) => count > 0)).toBe(true);
    expect(answers).toHaveLength(100);
  });

  it('goes on from the journal where more happened than the state remembers', async () => {
    const world = await openTown();
    const { town, feed } = world;
    const { next } = await feed.since([SCOPE], 0, 100);
    for (let n = 0; n < 100; n += 1) {
      await town.governor.clearCooldown(SCOPE);
      await town.pass(SECOND);
    }
    const { events } = await feed.after([SCOPE], next, 0);
    expect(events).toHaveLength(100);
    const ids = events.map(({ id }) => id);
    expect(ids).toEqual(ids.toSorted((a, b) => a - b));
  });
});

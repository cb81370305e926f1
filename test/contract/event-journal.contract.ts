import { expect } from 'vitest';
import {
  type EventJournal,
  type JournalEntry,
  KEPT_MS,
  MOST_READ,
} from '../../src/state/event-journal.js';

export interface JournalHarness {
  /** Opens the journal; others may have it open. */
  open(): Promise<EventJournal>;
  /** Closes all that it opened, and removes the journal. */
  dispose(): Promise<void>;
}

export interface JournalCase {
  readonly name: string;
  /** What a journal must do for it; a double that doesn't must fail here. */
  readonly needs: 'to keep' | 'to keep once' | 'an order' | 'a bound';
  run(harness: JournalHarness): Promise<void>;
}

const AT = 1_764_115_200_000;

const event = (id: number, scope = 'a', at = AT + id): JournalEntry => ({
  stream: 'event',
  scope,
  id,
  at,
  requests: null,
  document: { kind: 'sample', details: { note: 'ü "quoted"\n', none: null, amount: 0.5 } },
});

const refusals = (id: number, first: number, last: number, prefix = 'tg_1'): JournalEntry => ({
  stream: 'refusals',
  scope: 'a',
  id,
  at: AT + id,
  requests: { prefix, first, last },
  document: { runs: [[first, last]] },
});

const all = (stream: JournalEntry['stream']) => ({ stream, scope: null, from: 0, most: 1_000 });

/** What every adapter does alike: see the port, EventJournal. */
export const JOURNAL_CONTRACT: readonly JournalCase[] = [
  {
    name: 'is empty at first',
    needs: 'an order',
    async run(harness) {
      const journal = await harness.open();
      expect(await journal.read(all('event'))).toEqual([]);
      expect(await journal.find({ prefix: 'tg_1', number: 1 })).toEqual([]);
      expect(journal.problem).toBeNull();
    },
  },
  {
    name: 'gives back what it was given, oldest first, each stream for itself',
    needs: 'to keep',
    async run(harness) {
      const journal = await harness.open();
      await journal.append([event(3), event(1), refusals(2, 5, 9)]);
      await journal.append([event(2, 'b'), event(3, 'b')]);
      expect(await journal.read(all('event'))).toEqual([
        event(1),
        event(2, 'b'),
        event(3),
        event(3, 'b'),
      ]);
      expect(await journal.read(all('refusals'))).toEqual([refusals(2, 5, 9)]);
      expect(await journal.read({ ...all('event'), scope: 'b' })).toEqual([
        event(2, 'b'),
        event(3, 'b'),
      ]);
      expect(await journal.read({ ...all('event'), from: AT + 3 })).toEqual([
        event(3),
        event(3, 'b'),
      ]);
    },
  },
  {
    name: 'keeps an entry once, however often it is given, and by whom',
    needs: 'to keep once',
    async run(harness) {
      const journal = await harness.open();
      await journal.append([event(1), event(2), event(1)]);
      await journal.append([event(2), event(3)]);
      await journal.close();
      const again = await harness.open();
      await again.append([event(1), event(2), event(3), event(4)]);
      expect((await again.read(all('event'))).map(({ id }) => id)).toEqual([1, 2, 3, 4]);
    },
  },
  {
    name: 'keeps refusals of two processes apart, though they share an instant',
    needs: 'to keep',
    async run(harness) {
      const journal = await harness.open();
      await journal.append([refusals(1, 1, 2, 'tg_1'), refusals(1, 1, 2, 'tg_2')]);
      expect(await journal.read(all('refusals'))).toHaveLength(2);
    },
  },
  {
    name: 'finds entries by a request id within their span',
    needs: 'to keep',
    async run(harness) {
      const journal = await harness.open();
      await journal.append([refusals(1, 5, 9), refusals(2, 8, 20), refusals(3, 5, 9, 'tg_2')]);
      const found = async (number: number, prefix = 'tg_1') =>
        (await journal.find({ prefix, number })).map(({ id }) => id);
      expect(await found(4)).toEqual([]);
      expect(await found(5)).toEqual([1]);
      expect(await found(9)).toEqual([1, 2]);
      expect(await found(20)).toEqual([2]);
      expect(await found(21)).toEqual([]);
      expect(await found(7, 'tg_2')).toEqual([3]);
      expect(await found(7, 'tg_')).toEqual([]);
    },
  },
  {
    name: 'answers with the newest where there are more than asked for, and with a bound',
    needs: 'a bound',
    async run(harness) {
      const journal = await harness.open();
      const count = MOST_READ + 50;
      await journal.append(Array.from({ length: count }, (_, index) => event(index + 1)));
      const newest = await journal.read({ ...all('event'), most: 3 });
      expect(newest.map(({ id }) => id)).toEqual([count - 2, count - 1, count]);
      expect(await journal.read({ ...all('event'), most: 1_000_000 })).toHaveLength(MOST_READ);
    },
  },
  {
    name: 'keeps whatever JSON can say, and what was appended with it',
    needs: 'to keep',
    async run(harness) {
      const journal = await harness.open();
      const odd = { model: 'claude\0x', half: '\ud83d', 'key\0\udc00': '\ufeff\u2028\\u0000{}",' };
      const entry: JournalEntry = { ...refusals(2, 1, 2), document: odd };
      await journal.append([refusals(1, 1, 2), entry, refusals(3, 1, 2)]);
      const read = await journal.read(all('refusals'));
      expect(read.map(({ document }) => document)).toEqual([
        refusals(1, 1, 2).document,
        odd,
        refusals(3, 1, 2).document,
      ]);
      expect(journal.problem).toBeNull();
    },
  },
  {
    name: 'is seen by a second one, and survives a close',
    needs: 'to keep',
    async run(harness) {
      const journal = await harness.open();
      await journal.append([event(1)]);
      expect(await journal.read(all('event'))).toHaveLength(1);
      const other = await harness.open();
      expect(await other.read(all('event'))).toEqual([event(1)]);
      await journal.append([event(2)]);
      await journal.close();
      expect(await other.read(all('event'))).toEqual([event(1), event(2)]);
    },
  },
  {
    name: 'does not drop what is young',
    needs: 'to keep',
    async run(harness) {
      const journal = await harness.open();
      await journal.append([event(1), refusals(1, 1, 2)]);
      await journal.prune(AT + KEPT_MS.refusals - 1);
      expect(await journal.read(all('event'))).toHaveLength(1);
      expect(await journal.read(all('refusals'))).toHaveLength(1);
    },
  },
];

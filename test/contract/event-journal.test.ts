import { randomBytes } from 'node:crypto';
import { appendFileSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { EventJournal, JournalEntry } from '../../src/state/event-journal.js';
import { KEPT_MS, keyOf } from '../../src/state/event-journal.js';
import { FileEventJournal } from '../../src/state/file/file-journal.js';
import { PostgresEventJournal } from '../../src/state/postgres/postgres-journal.js';
import { SqliteEventJournal } from '../../src/state/sqlite/sqlite-journal.js';
import { MemoryEventJournal } from '../support/memory-journal.js';
import { PostgresStore } from '../support/postgres-store.js';
import { TemporaryDirectory } from '../support/temporary-directory.js';
import {
  JOURNAL_CONTRACT,
  type JournalCase,
  type JournalHarness,
} from './event-journal.contract.js';

const THREAD = new URL('../../dist/chunks/journal-thread.js', import.meta.url);

/** Journals of one place, opened as often as wanted. */
function harnessOf(
  open: () => EventJournal | Promise<EventJournal>,
  dispose: () => Promise<void> | void = () => {},
): JournalHarness {
  const opened: EventJournal[] = [];
  return {
    open: async () => {
      const journal = await open();
      opened.push(journal);
      return journal;
    },
    dispose: async () => {
      for (const journal of opened) await journal.close();
      await dispose();
    },
  };
}

function onDisk(open: (path: string) => EventJournal): JournalHarness {
  const directory = new TemporaryDirectory();
  const path = directory.at('data', 'state');
  return harnessOf(
    () => open(path),
    () => directory.dispose(),
  );
}

function onPostgres(): JournalHarness {
  let made: Promise<PostgresStore> | null = null;
  const make = async () => {
    const store = await PostgresStore.create();
    // Whoever opens the state first makes the tables.
    await store.open();
    return store;
  };
  return harnessOf(
    async () => new PostgresEventJournal({ url: (await (made ??= make())).url, instance: 'test' }),
    async () => (await made)?.dispose(),
  );
}

const ADAPTERS: readonly (readonly [string, () => JournalHarness])[] = [
  [
    'memory',
    () => {
      const entries = new Map<string, JournalEntry>();
      return harnessOf(() => new MemoryEventJournal(entries));
    },
  ],
  ['file', () => onDisk((path) => new FileEventJournal({ path }))],
  ['sqlite', () => onDisk((path) => new SqliteEventJournal({ path, thread: THREAD }))],
  ['postgres', onPostgres],
];

describe.each(ADAPTERS)('the contract of EventJournal, kept by %s', (kind, makeHarness) => {
  it.each(JOURNAL_CONTRACT)('$name', async ({ run }) => {
    const harness = makeHarness();
    try {
      await run(harness);
    } finally {
      await harness.dispose();
    }
  });

  it('drops what has lived long enough', async () => {
    const harness = makeHarness();
    try {
      const journal = await harness.open();
      const entry = (id: number, at: number): JournalEntry => ({
        stream: 'refusals',
        scope: 'a',
        id,
        at,
        requests: { prefix: 'tg_1', first: id, last: id },
        // Enough for a file of its own to begin.
        document: { text: 'x'.repeat(60_000) },
      });
      const now = 1_764_115_200_000;
      const old = Array.from({ length: 75 }, (_, index) =>
        entry(index + 1, now - KEPT_MS.refusals - 1),
      );
      for (let from = 0; from < old.length; from += 40) {
        await journal.append(old.slice(from, from + 40));
        await journal.read({ stream: 'refusals', scope: null, from: 0, most: 1 });
      }
      await journal.append([entry(100, now)]);
      await journal.read({ stream: 'refusals', scope: null, from: 0, most: 1 });
      await journal.prune(now);
      const left = await journal.read({ stream: 'refusals', scope: null, from: 0, most: 1_000 });
      expect(left.map(({ id }) => id).at(-1)).toBe(100);
      // Files go as a whole; in tables only what is young is left.
      expect(left.length).toBeLessThanOrEqual(kind === 'file' ? 75 : 1);
    } finally {
      await harness.dispose();
    }
  });
});

it('events are kept for 30 days, and what explains a refusal for its 24 hours at least', () => {
  const hourMs = 3_600_000;
  expect(KEPT_MS.event).toBe(30 * 24 * hourMs);
  expect(KEPT_MS.refusals).toBeGreaterThan(24 * hourMs);
});

/** Journals that do a part of their duty only. */
class BrokenJournal extends MemoryEventJournal {
  constructor(private readonly fault: 'forgets' | 'repeats') {
    super();
  }

  override async append(entries: readonly JournalEntry[]): Promise<void> {
    if (this.fault === 'forgets') return;
    for (const entry of entries) {
      // Under another key the same entry is another.
      const other = { ...entry, id: entry.id, requests: entry.requests };
      await super.append([other]);
      this.#extra.push(other);
    }
  }

  readonly #extra: JournalEntry[] = [];

  override async read(query: Parameters<MemoryEventJournal['read']>[0]) {
    const kept = await super.read(query);
    const once = new Set(kept.map(keyOf));
    const twice = this.#extra.filter(
      (entry, index) =>
        once.has(keyOf(entry)) &&
        this.#extra.findIndex((earlier) => keyOf(earlier) === keyOf(entry)) !== index,
    );
    return [...kept, ...twice];
  }
}

/** The contract must notice a journal that only seems to keep. */
describe.each<['forgets' | 'repeats', readonly JournalCase['needs'][]]>([
  ['forgets', ['to keep', 'to keep once', 'a bound']],
  ['repeats', ['to keep once']],
])('a journal that %s', (fault, fails) => {
  it.each(JOURNAL_CONTRACT.filter(({ needs }) => fails.includes(needs)))(
    'fails: $name',
    async ({ run }) => {
      const journal = new BrokenJournal(fault);
      const harness = harnessOf(() => journal);
      await expect(run(harness)).rejects.toThrow(/expected/);
    },
  );
});

describe('a journal on a disk', () => {
  it('passes over what a crash tore, and what is no entry', async () => {
    const directory = new TemporaryDirectory();
    const path = directory.at('state.json');
    const entry = {
      stream: 'event',
      scope: 'a',
      id: 1,
      at: 1,
      requests: null,
      document: {},
    } as const;
    writeFileSync(`${path}.events`, `garbage\n${JSON.stringify(entry)}\n{"stream":"event","sco`);
    const journal = new FileEventJournal({ path });
    await journal.append([entry, { ...entry, id: 2, at: 2 }]);
    const read = await journal.read({ stream: 'event', scope: null, from: 0, most: 10 });
    expect(read.map(({ id }) => id)).toEqual([1, 2]);
    await journal.close();
    directory.dispose();
  });

  it('that has no room for an entry says so', async () => {
    const directory = new TemporaryDirectory();
    const path = directory.at('state.json');
    // Nothing can be written, so what is taken waits.
    mkdirSync(`${path}.refusals`);
    const journal = new FileEventJournal({ path });
    const entries = Array.from({ length: 100 }, (_, index) => ({
      stream: 'refusals' as const,
      scope: 'a',
      id: index + 1,
      at: 1,
      requests: null,
      document: { text: 'x'.repeat(60_000) },
    }));
    for (let time = 0; time < 3; time += 1) {
      await expect(journal.append(entries)).rejects.toThrow('found no room');
    }
    await journal.close();
    directory.dispose();
  });

  it('that is damaged is set aside, and begins anew', async () => {
    const directory = new TemporaryDirectory();
    const path = directory.at('state.db');
    appendFileSync(`${path}.events`, randomBytes(8_192));
    const journal = new SqliteEventJournal({ path, thread: THREAD });
    const entry = {
      stream: 'event',
      scope: 'a',
      id: 1,
      at: 1,
      requests: null,
      document: {},
    } as const;
    await expect(journal.append([entry])).rejects.toThrow('state.db.events');
    expect(journal.problem).toContain('state.db.events');
    await journal.append([entry]);
    expect(journal.problem).toBeNull();
    expect(readdirSync(directory.path).some((name) => name.includes('.events.corrupt-'))).toBe(
      true,
    );
    await journal.close();
    directory.dispose();
  });

  it('that can’t be used says so and goes on when it can', async () => {
    const directory = new TemporaryDirectory();
    writeFileSync(directory.at('no-directory'), '');
    const path = directory.at('no-directory', 'state.db');
    const journal = new SqliteEventJournal({ path, thread: THREAD });
    const entry = {
      stream: 'event',
      scope: 'a',
      id: 1,
      at: 1,
      requests: null,
      document: {},
    } as const;
    await expect(journal.append([entry])).rejects.toThrow("can't be used");
    await expect(journal.append([entry])).rejects.toThrow("can't be used");
    rmSync(directory.at('no-directory'));
    await journal.append([entry]);
    expect(journal.problem).toBeNull();
    expect(await journal.read({ stream: 'event', scope: null, from: 0, most: 1 })).toEqual([entry]);
    await journal.close();
    directory.dispose();
  });
});

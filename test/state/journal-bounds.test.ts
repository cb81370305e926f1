import { readFileSync, writeFileSync } from 'node:fs';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SYSTEM_FILES } from '../../src/platform/durable-file.js';
import { type JournalEntry, MOST_ROWS } from '../../src/state/event-journal.js';
import { FileEventJournal } from '../../src/state/file/file-journal.js';
import { BOUNDS } from '../../src/state/scope-state.js';
import { JournalDatabase } from '../../src/state/sqlite/journal-database.js';
import { SqliteEventJournal } from '../../src/state/sqlite/sqlite-journal.js';
import { TemporaryDirectory } from '../support/temporary-directory.js';
import { FailingDisk, watchedFiles } from '../support/watched-files.js';

let directory: TemporaryDirectory;
beforeEach(() => {
  directory = new TemporaryDirectory();
});
afterEach(() => directory.dispose());

const eventOf = (id: number): JournalEntry => ({
  stream: 'event',
  scope: 'a',
  id,
  at: id,
  requests: null,
  document: {},
});

describe('a journal', () => {
  /** On a thread that answers each request at once, or all of them when it is closed. */
  function journalOn(answers: 'at once' | 'at the end', files = SYSTEM_FILES) {
    const source = `
      import { parentPort } from 'node:worker_threads';
      let waiting = 0;
      parentPort.on('message', ({ call }) => {
        waiting += 1;
        if (${answers === 'at the end'} && call !== 'close') return;
        for (; waiting > 0; waiting -= 1) parentPort.postMessage({ value: [] });
      });`;
    const thread = new URL(`data:text/javascript,${encodeURIComponent(source)}`);
    return new SqliteEventJournal({ path: directory.at('state.db'), thread, files });
  }

  it('that answers takes any number of requests in turn', async () => {
    const journal = journalOn('at once');
    for (let n = 0; n < 300; n += 1) await journal.append([]);
    await journal.close();
  });

  it.each(['the thread', 'the directory'])('that waits for %s has a bound on it', async (what) => {
    let letGo = () => {};
    const hung = new Promise<void>((resolve) => (letGo = resolve));
    const hangs = watchedFiles({ before: () => hung });
    const journal = journalOn('at the end', what === 'the directory' ? hangs : SYSTEM_FILES);
    const outcomes = Array.from({ length: 1_000 }, () =>
      journal.append([]).then(
        () => 'appended',
        (error: Error) => error.message,
      ),
    );
    const { problem } = journal;
    expect(problem).toContain('its disk does not answer');
    letGo();
    await journal.close();
    const refused = (await Promise.all(outcomes)).filter((outcome) => outcome === problem);
    expect(refused.length).toBeGreaterThan(500);
    expect(refused.length).toBeLessThan(1_000);
  });

  it('in a table has a bound on what it keeps, however young that is', async () => {
    const path = directory.at('journal');
    const journal = new JournalDatabase(path);
    const database = new Database(path);
    database.pragma('synchronous = OFF');
    const now = 1_764_115_200_000;
    database.exec(`
      WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 101000)
      INSERT INTO journal SELECT 'event', 'a', n, ${now} + n, '', NULL, NULL, '{}' FROM number`);
    journal.serve({ call: 'prune', now });
    const { count, newest } = database
      .prepare('SELECT count(*) AS count, max(id) AS newest FROM journal')
      .get() as { count: number; newest: number };
    expect(newest).toBe(101_000);
    expect(Math.abs(count - MOST_ROWS.event)).toBeLessThanOrEqual(1);
    database.close();
    journal.serve({ call: 'close' });
  });

  it('in files does not read what is older than what is asked for', async () => {
    const path = directory.at('state.json');
    const lines = (...ids: number[]) =>
      ids.map((id) => `${JSON.stringify(eventOf(id))}\n`).join('');
    writeFileSync(`${path}.events.2`, lines(1, 2));
    writeFileSync(`${path}.events.1`, lines(3, 4));
    writeFileSync(`${path}.events`, lines(5, 6));
    const disk = new FailingDisk();
    const journal = new FileEventJournal({ path, files: disk.files });
    const read = async (from: number) => {
      disk.calls.length = 0;
      const found = await journal.read({ stream: 'event', scope: null, from, most: 100 });
      const opened = disk.calls.filter((call) => call.startsWith('open')).length;
      return [found.map(({ id }) => id), opened];
    };
    expect(await read(6)).toEqual([[6], 1]);
    expect(await read(4)).toEqual([[4, 5, 6], 2]);
    await journal.close();
  });

  it('in files knows again what all states hold, and forgets the keys of what is older', async () => {
    const path = directory.at('state.json');
    const journal = new FileEventJournal({ path });
    const lines = async () => {
      await journal.read({ stream: 'event', scope: null, from: 0, most: 1 });
      return readFileSync(`${path}.events`, 'utf8').split('\n').length - 1;
    };
    const inStates = BOUNDS.scopes * BOUNDS.events;
    const many = (first: number, count: number) =>
      Array.from({ length: count }, (_, index) => eventOf(first + index));
    await journal.append(many(1, inStates));
    await journal.append(many(1, inStates));
    expect(await lines()).toBe(inStates);
    // For good, their keys would be a leak.
    await journal.append(many(1 + inStates, 10_000));
    await journal.append([eventOf(1)]);
    expect(await lines()).toBe(inStates + 10_001);
    await journal.close();
  });
});

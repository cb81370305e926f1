import { open, rm } from 'node:fs/promises';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import pg from 'pg';

/** What a store is measured against: the least that makes a document durable, by the same driver. */
export interface BareCommits {
  commit(): Promise<void>;
  dispose(): Promise<void>;
}

/** In turn: databases save themselves the writing of what is there already. */
function alternately([one, other]: readonly [string, string]): () => string {
  let turn = false;
  return () => {
    turn = !turn;
    return turn ? one : other;
  };
}

/** An append and `fdatasync`. */
export async function appends(document: Buffer): Promise<BareCommits> {
  const directory = mkdtempSync(join(tmpdir(), 'tidegate-bench-bare-'));
  const file = await open(join(directory, 'journal'), 'a');
  return {
    commit: async () => {
      await file.write(document);
      await file.datasync();
    },
    dispose: async () => {
      await file.close();
      await rm(directory, { recursive: true });
    },
  };
}

/** One `UPDATE` in a log that is flushed, on this very thread. */
export async function sqliteUpdates(documents: readonly [string, string]): Promise<BareCommits> {
  const directory = mkdtempSync(join(tmpdir(), 'tidegate-bench-bare-'));
  const database = new Database(join(directory, 'bare.db'));
  for (const setting of ['page_size = 512', 'journal_mode = WAL', 'synchronous = FULL']) {
    database.pragma(setting);
  }
  database.exec('create table bare (id integer primary key, document text not null)');
  database.prepare('insert into bare values (1, ?)').run(documents[0]);
  const next = alternately(documents);
  const update = database.prepare('update bare set document = ? where id = 1');
  return {
    commit: async () => void update.run(next()),
    dispose: async () => {
      database.close();
      await rm(directory, { recursive: true });
    },
  };
}

/** One `UPDATE`, a transaction of its own. */
export async function postgresUpdates(
  url: string,
  documents: readonly [string, string],
): Promise<BareCommits> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(
    'create table if not exists bare (id int primary key, document json) with (fillfactor = 10)',
  );
  await client.query('insert into bare values (1, $1) on conflict do nothing', [documents[0]]);
  const next = alternately(documents);
  return {
    commit: async () => {
      await client.query('update bare set document = $2 where id = $1', [1, next()]);
    },
    dispose: () => client.end(),
  };
}

/** One commit at a time, which all share that came while the last one was under way. */
export function folded(commit: () => Promise<void>): () => Promise<void> {
  let waiting: (() => void)[] = [];
  let running = false;
  const run = async () => {
    running = true;
    while (waiting.length > 0) {
      const fold = waiting;
      waiting = [];
      await commit();
      for (const resolve of fold) resolve();
      // The callers come back in this turn.
      await Promise.resolve();
    }
    running = false;
  };
  return () =>
    new Promise((resolve) => {
      waiting.push(resolve);
      if (!running) void run();
    });
}

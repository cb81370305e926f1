/** The thread that the journal's database is used on; SqliteEventJournal talks to it. */
import { parentPort, workerData } from 'node:worker_threads';
import { errorCode } from '../../platform/durable-file.js';
import { JournalDatabase, type JournalRequest } from './journal-database.js';
import type { JournalEntry } from '../event-journal.js';

export type JournalAnswer =
  | { readonly entries: readonly JournalEntry[] }
  | { readonly message: string; readonly code: string };

let database: JournalDatabase | null = null;

parentPort?.on('message', (request: JournalRequest) => {
  let answer: JournalAnswer;
  try {
    database ??= new JournalDatabase(workerData as string);
    answer = { entries: database.serve(request) };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    answer = { message, code: errorCode(error) };
  }
  parentPort?.postMessage(answer);
});

/** The thread that the journal's database is used on. */
import { workerData } from 'node:worker_threads';
import { JournalDatabase, type JournalRequest } from './journal-database.js';
import { serveOnThread } from './thread-connection.js';

let database: JournalDatabase | null = null;

serveOnThread((request: JournalRequest) => {
  database ??= new JournalDatabase(workerData as string);
  return database.serve(request);
});

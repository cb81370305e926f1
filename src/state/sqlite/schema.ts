import type { Database } from 'better-sqlite3';
import { TidegateError } from '../../platform/tidegate-error.js';

/** In the file's header; `file state.db` shows it. */
export const APPLICATION_ID = 0x74696465;

/**
 * The smallest there are: a commit writes whole pages, and those of a typical scope's hot part come to
 * 1.6 KB so. (1,024: 2.1 KB, 4,096: 4.1 KB; no difference in time.)
 */
export const PAGE_BYTES = 512;

/**
 * Step n leads from version n to n + 1, in a transaction. Append-only: a step that has been in a
 * release stays as it is.
 *
 * `document` is JSON, as in the file store; the other columns are for people and for SQL. The hot part
 * of a scope is apart from all the rest of it, so that a charge writes no more than it must.
 * `checksum` is a CRC-32: SQLite itself believes a flipped bit in a digit.
 */
const STEPS: readonly string[] = [
  ['store', 'scope_hot', 'scope_cold']
    .map(
      (table) => `CREATE TABLE ${table} (
        scope TEXT NOT NULL UNIQUE,
        revision INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        document TEXT NOT NULL
      ) STRICT;`,
    )
    .join('\n'),
];

/** @throws TidegateError STATE_NEWER. */
export function checkVersion(database: Database): void {
  const version = versionOf(database);
  if (version <= STEPS.length) return;
  throw new TidegateError(
    'STATE_NEWER',
    `the database has version ${version}, and this Tidegate knows up to ${STEPS.length}`,
    { hint: 'start the version that wrote it, or a later one' },
  );
}

/** Brings a database up to this version; an empty one gets everything. */
export function migrate(database: Database): void {
  checkVersion(database);
  for (let version = versionOf(database); version < STEPS.length; version += 1) {
    const step = STEPS[version] ?? '';
    database
      .transaction(() => {
        database.exec(step);
        database.pragma(`application_id = ${APPLICATION_ID}`);
        database.pragma(`user_version = ${version + 1}`);
      })
      .immediate();
  }
}

function versionOf(database: Database): number {
  return database.pragma('user_version', { simple: true }) as number;
}

import { SYSTEM_TIMERS } from '../../platform/timers.js';
import { Database } from './database.js';
import { unavailable } from './faults.js';

/**
 * Brings the tables up to date, by hand; instances do the same at their start. Returns the names of
 * the migrations that ran, or would run.
 *
 * @throws TidegateError STATE_UNAVAILABLE
 */
export async function migrateDatabase(
  url: string,
  options: { readonly dryRun: boolean },
): Promise<readonly string[]> {
  const timers = SYSTEM_TIMERS;
  const database = new Database({ url, applicationName: 'tidegate migrate', timers });
  try {
    return await (options.dryRun ? database.pendingMigrations() : database.migrate());
  } catch (error) {
    throw unavailable(error, url);
  } finally {
    await database.close();
  }
}

import { hasCode } from '../../platform/tidegate-error.js';
import { SYSTEM_TIMERS } from '../../platform/timers.js';
import { Database } from './database.js';
import { unavailable } from './faults.js';

/**
 * Brings the tables up to date, by hand; instances do the same at their start. Returns the names of
 * the migrations that ran, or would run.
 *
 * @throws TidegateError STATE_UNAVAILABLE; STATE_NEWER where a later version has raised the schema
 */
export async function migrateDatabase(
  url: string,
  options: { readonly dryRun: boolean },
): Promise<readonly string[]> {
  const timers = SYSTEM_TIMERS;
  const database = new Database({ url, applicationName: 'tidegate migrate', timers });
  try {
    const pending = await database.pendingMigrations();
    await database.assertReadable();
    return options.dryRun ? pending : await database.migrate();
  } catch (error) {
    throw hasCode(error, 'STATE_NEWER') ? error : unavailable(error, url);
  } finally {
    await database.close();
  }
}

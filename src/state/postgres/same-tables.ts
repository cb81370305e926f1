import { randomHex } from '../../platform/random.js';
import { SYSTEM_TIMERS } from '../../platform/timers.js';
import { ANSWER_MS, Database } from './database.js';
import { unavailable } from './faults.js';
import { MIGRATIONS } from './migrations.js';

const KEY = `$1::int, 'tidegate_store'::regclass::oid::int`;

/**
 * Whether two addresses lead to the same tables. The addresses can't say: a host has several names, and
 * the schema may be the user's own. Nor can the store's id, which a backup shares. So one side takes a
 * lock, named by chance and by the table, and the other finds it taken or not. A database has its own
 * locks, and so does a server.
 *
 * @throws TidegateError STATE_UNAVAILABLE.
 */
export async function isSameTables(one: string, other: string): Promise<boolean> {
  const [holding, asking] = [one, other].map((url) => new Side(url)) as [Side, Side];
  // As many bits as an integer of the database has, the sign among them.
  const name = Number.parseInt(randomHex(4), 16) | 0;
  try {
    if (!((await holding.hasTables()) && (await asking.hasTables()))) return false;
    return await holding.lock(name, async () => !(await asking.canLock(name)));
  } finally {
    await holding.database.close();
    await asking.database.close();
  }
}

class Side {
  readonly database: Database;

  constructor(readonly url: string) {
    const timers = SYSTEM_TIMERS;
    this.database = new Database({ url, applicationName: 'tidegate state', timers });
  }

  async hasTables(): Promise<boolean> {
    return this.#told(async () => {
      return (await this.database.pendingMigrations()).length < MIGRATIONS.length;
    });
  }

  /** Holds the lock while `use` goes on; no pooler takes it away within a transaction. */
  async lock<Value>(name: number, use: () => Promise<Value>): Promise<Value> {
    return this.database.session(async ({ client }) => {
      const lock = Promise.all([
        client.query('begin'),
        client.query(`select pg_advisory_xact_lock(${KEY})`, [name]),
      ]);
      await this.#told(() => this.database.answer(ANSWER_MS, lock));
      const value = await use();
      await this.#told(() => this.database.answer(ANSWER_MS, client.query('rollback')));
      return value;
    });
  }

  async canLock(name: number): Promise<boolean> {
    return this.#told(() =>
      this.database.session(async ({ client }) => {
        const sql = `select pg_try_advisory_xact_lock(${KEY}) as free`;
        const work = client.query<{ free: boolean }>(sql, [name]);
        return (await this.database.answer(ANSWER_MS, work)).rows[0]?.free === true;
      }),
    );
  }

  /** Which of the two it was. */
  async #told<Value>(ask: () => Promise<Value>): Promise<Value> {
    try {
      return await ask();
    } catch (error) {
      throw unavailable(error, this.url);
    }
  }
}

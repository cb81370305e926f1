/**
 * How replicas should share one row: under a row lock, or by compare-and-set on its revision.
 *
 *   node --experimental-transform-types --import ./test/support/run-typescript.mjs \
 *     test/bench/postgres-locking.ts [seconds]
 *
 * Starts a Postgres of its own. Each replica is a process with one connection; its callers come back
 * as soon as they are answered, and are folded into one commit as the store folds them. Every commit
 * reads a document of 1.5 KB, counts in it, and writes it. In the end the count is compared with
 * what the callers were told: a strategy that loses one is out of the question.
 */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { PostgresServer } from '../support/postgres-server.js';

const REPLICAS = [1, 4, 8];
const CALLERS = 64;
/** Pads the document to the size of a hot part in use. */
const PADDING = 'x'.repeat(1_400);

interface Document {
  readonly count: number;
  readonly padding: string;
}

/** Adds `by` to the count in one durable commit; returns how often it had to try. */
type Commit = (client: pg.Client, by: number) => Promise<number>;

const SETTINGS = `select set_config('lock_timeout', '1500', true),
  set_config('idle_in_transaction_session_timeout', '750', true)`;
const READ = 'select revision, document, clock_timestamp() as now from bench where id = 1';
const WRITE = 'update bench set revision = revision + 1, document = $1 where id = 1';

const STRATEGIES: Readonly<Record<string, { pipeline: boolean; makeCommit: () => Commit }>> = {
  /** BEGIN, settings and SELECT FOR UPDATE travel together; UPDATE and COMMIT do. */
  'row lock, pipelined': {
    pipeline: true,
    makeCommit: () => async (client, by) => {
      const [, , read] = await Promise.all([
        client.query('begin'),
        client.query(SETTINGS),
        client.query(`${READ} for update`),
      ]);
      await Promise.all([
        client.query(WRITE, [add(read.rows[0].document, by)]),
        client.query('commit'),
      ]);
      return 1;
    },
  },
  /** The same, as two strings of several statements each. */
  'row lock, multi-statement': {
    pipeline: false,
    makeCommit: () => async (client, by) => {
      const results = (await client.query(
        `begin; ${SETTINGS}; ${READ} for update`,
      )) as unknown as pg.QueryResult[];
      const document = client.escapeLiteral(add(results[2]?.rows[0].document, by));
      await client.query(`${WRITE.replace('$1', () => document)}; commit`);
      return 1;
    },
  },
  /** Each statement waits for the one before it. */
  'row lock, one by one': {
    pipeline: false,
    makeCommit: () => async (client, by) => {
      await client.query('begin');
      await client.query(SETTINGS);
      const { rows } = await client.query(`${READ} for update`);
      await client.query(WRITE, [add(rows[0].document, by)]);
      await client.query('commit');
      return 1;
    },
  },
  /** Decides on what it knows, and writes if nobody else has; else reads, and decides again. */
  'compare and set': {
    pipeline: false,
    makeCommit: () => {
      let known: { revision: string; document: Document } | null = null;
      return async (client, by) => {
        for (let tries = 1; ; tries += 1) {
          known ??= (await client.query(READ)).rows[0] as typeof known & object;
          const text = add(known.document, by);
          const { rows } = await client.query(
            `${WRITE} and revision = $2 returning revision, clock_timestamp()`,
            [text, known.revision],
          );
          known = rows[0] && { revision: rows[0].revision, document: JSON.parse(text) };
          if (known !== null && known !== undefined) return tries;
          known = null;
        }
      };
    },
  },
};

function add(document: Document, by: number): string {
  return JSON.stringify({ ...document, count: document.count + by });
}

interface Measured {
  readonly answered: number;
  readonly commits: number;
  readonly tries: number;
  /** In ms, of a sample of the answers. */
  readonly waits: readonly number[];
}

/** One replica's callers, for as long as told. */
async function replica(url: string, name: string, callers: number, ms: number): Promise<Measured> {
  const { pipeline, makeCommit } = STRATEGIES[name]!;
  const client = new pg.Client({ connectionString: url, pipeline } as pg.ClientConfig);
  await client.connect();
  const commit = makeCommit();
  const end = performance.now() + ms;
  const waits: number[] = [];
  let [answered, commits, tries] = [0, 0, 0];
  let waiting: (() => void)[] = [];
  const caller = async () => {
    while (performance.now() < end) {
      const since = performance.now();
      await new Promise<void>((resolve) => waiting.push(resolve));
      waits.push(performance.now() - since);
      answered += 1;
    }
  };
  const all = Promise.all(Array.from({ length: callers }, caller));
  while (waiting.length > 0) {
    const fold = waiting;
    waiting = [];
    tries += await commit(client, fold.length);
    commits += 1;
    for (const resolve of fold) resolve();
    // The callers come back in the turn after this one.
    await new Promise(setImmediate);
  }
  await all;
  await client.end();
  return { answered, commits, tries, waits: waits.filter((_, index) => index % 10 === 0) };
}

async function measure(url: string, name: string, replicas: number, ms: number): Promise<void> {
  const admin = new pg.Client({ connectionString: url });
  await admin.connect();
  await admin.query(`
    drop table if exists bench;
    create table bench (id int primary key, revision bigint not null, document json not null)
      with (fillfactor = 10);`);
  await admin.query('insert into bench values (1, 0, $1)', [
    add({ count: 0, padding: PADDING }, 0),
  ]);
  const [{ rows: before }] = [await admin.query('select pg_current_wal_insert_lsn() as lsn')];
  const children = Array.from({ length: replicas }, () =>
    fork(fileURLToPath(import.meta.url), [url, name, String(CALLERS / replicas), String(ms)], {
      execArgv: process.execArgv,
    }),
  );
  const results = await Promise.all(
    children.map(
      (child) =>
        new Promise<Measured>((resolve, reject) => {
          child
            .once('message', resolve as (message: unknown) => void)
            .once('error', reject)
            .once('exit', (code) => reject(new Error(`a replica ended with ${code}`)));
        }),
    ),
  );
  const { rows } = await admin.query(
    "select (document->>'count')::int as count, pg_current_wal_insert_lsn() - $1 as wal from bench",
    [before[0].lsn],
  );
  await admin.end();
  const sum = (pick: (result: Measured) => number) => results.reduce((n, r) => n + pick(r), 0);
  const answered = sum((result) => result.answered);
  if (rows[0].count !== answered) throw new Error(`${name} lost ${answered - rows[0].count}`);
  const waits = results.flatMap((result) => result.waits).sort((a, b) => a - b);
  const at = (share: number) => (waits[Math.floor(waits.length * share)] ?? 0).toFixed(2);
  const commits = sum((result) => result.commits);
  console.log(
    `| ${name} | ${replicas} | ${Math.round((answered / ms) * 1000)} | ${at(0.5)} | ${at(0.99)} | ` +
      `${Math.round((commits / ms) * 1000)} | ${(sum((r) => r.tries) / commits).toFixed(2)} | ` +
      `${Math.round(rows[0].wal / commits)} |`,
  );
}

const [url, name, callers, ms] = process.argv.slice(2);
if (process.send !== undefined) {
  process.send(await replica(url!, name!, Number(callers), Number(ms)));
  process.disconnect();
} else {
  const seconds = Number(url ?? 3);
  const server = await PostgresServer.start();
  try {
    console.log(
      `${CALLERS} callers in all, ${seconds} s each; waits in ms, WAL in bytes a commit\n`,
    );
    console.log('| strategy | replicas | admissions/s | p50 | p99 | commits/s | tries | WAL |');
    console.log('|---|---|---|---|---|---|---|---|');
    for (const replicas of REPLICAS) {
      for (const strategy of Object.keys(STRATEGIES)) {
        await measure(server.url(), strategy, replicas, seconds * 1000);
      }
    }
  } finally {
    await server.stop();
  }
}

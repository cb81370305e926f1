/**
 * How replicas should share one row: under a row lock, by compare-and-set on its revision, or by that
 * until somebody else writes.
 *
 *   node --experimental-transform-types --import ./test/support/run-typescript.mjs \
 *     test/bench/postgres-locking.ts [seconds]
 *
 * Starts a Postgres of its own. Each replica is a process with one connection; its callers are folded
 * into one commit as the store folds them, and come back at once (`full`) or after a pause, so that
 * there are some 200 in a second (`calm`). Every commit reads a document of 1.5 KB, counts in it, and
 * writes it. In the end the count is compared with what the callers were told: a strategy that loses
 * one is out of the question.
 */
import { fork } from 'node:child_process';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { PostgresServer } from '../support/postgres-server.js';

const REPLICAS = [1, 4, 8];
/** Pads the document to the size of a hot part in use. */
const PADDING = 'x'.repeat(1_400);

interface Document {
  readonly count: number;
  readonly padding: string;
}

/** Adds `by` to the count in one durable commit. */
type Commit = (client: pg.Client, by: number) => Promise<Way>;

interface Way {
  readonly tries: number;
  /** It was made without the lock. */
  readonly unlocked: boolean;
}

interface Known {
  readonly revision: string;
  readonly document: Document;
}

const BEGIN = `begin; set local lock_timeout = 1500; set local statement_timeout = 1800;
  set local idle_in_transaction_session_timeout = 750`;
const READ = 'select revision, document, clock_timestamp() as now from bench where id = 1';
const WRITE = 'update bench set revision = revision + 1, document = $1 where id = 1';
const COMPARE_AND_SET = `update bench set revision = revision + 1, document = $1
  where ctid = (select ctid from bench where id = 1 and revision = $2 for no key update skip locked)
  returning revision, clock_timestamp()`;

/** Null: the row is another by now, or held. */
async function set(client: pg.Client, known: Known, by: number): Promise<Known | null> {
  const text = add(known.document, by);
  const { rows } = await client.query({
    name: 'set',
    text: COMPARE_AND_SET,
    values: [text, known.revision],
  });
  return rows.length === 0 ? null : { revision: rows[0].revision, document: JSON.parse(text) };
}

async function lock(client: pg.Client): Promise<Known> {
  const sql = `${BEGIN}; ${READ} for no key update`;
  const results = (await client.query(sql)) as unknown as pg.QueryResult[];
  return results.at(-1)!.rows[0] as Known;
}

async function write(client: pg.Client, { revision, document }: Known, by: number): Promise<Known> {
  const text = add(document, by);
  await Promise.all([client.query(WRITE, [text]), client.query('commit')]);
  return { revision: String(BigInt(revision) + 1n), document: JSON.parse(text) };
}

const STRATEGIES: Readonly<Record<string, () => Commit>> = {
  /** Two round trips: begin, settings and the locking read; update and commit. */
  'row lock': () => async (client, by) => {
    await write(client, await lock(client), by);
    return { tries: 1, unlocked: false };
  },
  /** Decides on what it knows, and writes if nobody else has; else reads, and decides again. */
  'compare and set': () => {
    let known: Known | null = null;
    return async (client, by) => {
      for (let tries = 1; ; tries += 1) {
        known ??= (await client.query(READ)).rows[0] as Known;
        known = await set(client, known, by);
        if (known !== null) return { tries, unlocked: true };
      }
    };
  },
  /** As the store does: compare-and-set while the row is found as left, the lock after a miss. */
  'both, by turns': () => {
    let known: Known | null = null;
    let undisturbed = false;
    return async (client, by) => {
      let tries = 1;
      if (known !== null && undisturbed) {
        const written = await set(client, known, by);
        if (written !== null) {
          known = written;
          return { tries, unlocked: true };
        }
        tries = 2;
      }
      const found = await lock(client);
      undisturbed = found.revision === known?.revision;
      known = await write(client, found, by);
      return { tries, unlocked: false };
    };
  },
};

function add(document: Document, by: number): string {
  return JSON.stringify({ ...document, count: document.count + by });
}

interface Measured {
  readonly answered: number;
  readonly commits: number;
  readonly tries: number;
  readonly unlocked: number;
  /** In ms, of a sample of the answers. */
  readonly waits: readonly number[];
}

/** One replica's callers, for as long as told. */
async function replica(url: string, job: Job): Promise<Measured> {
  const client = new pg.Client({ connectionString: url, pipeline: true });
  await client.connect();
  const commit = STRATEGIES[job.strategy]!();
  const end = performance.now() + job.ms;
  const waits: number[] = [];
  let [answered, commits, tries, unlocked] = [0, 0, 0, 0];
  let waiting: (() => void)[] = [];
  let running: Promise<void> | null = null;
  const run = async () => {
    while (waiting.length > 0) {
      const fold = waiting;
      waiting = [];
      const way = await commit(client, fold.length);
      commits += 1;
      tries += way.tries;
      unlocked += way.unlocked ? 1 : 0;
      for (const resolve of fold) resolve();
      // The callers come back in the turn after this one.
      await new Promise(setImmediate);
    }
    running = null;
  };
  const caller = async () => {
    while (performance.now() < end) {
      if (job.pauseMs > 0) await pause(-Math.log(1 - Math.random()) * job.pauseMs);
      const since = performance.now();
      await new Promise<void>((resolve) => {
        waiting.push(resolve);
        running ??= run();
      });
      waits.push(performance.now() - since);
      answered += 1;
    }
  };
  await Promise.all(Array.from({ length: job.callers }, caller));
  await running;
  await client.end();
  const every = job.pauseMs > 0 ? 1 : 10;
  return { answered, commits, tries, unlocked, waits: waits.filter((_, n) => n % every === 0) };
}

async function measure(url: string, load: Load, replicas: number, job: Job): Promise<void> {
  const admin = new pg.Client({ connectionString: url });
  admin.on('error', () => undefined);
  await admin.connect();
  await admin.query(`
    drop table if exists bench;
    create table bench (id int primary key, revision bigint not null, document json not null)
      with (fillfactor = 10);`);
  const empty = add({ count: 0, padding: PADDING }, 0);
  await admin.query('insert into bench values (1, 0, $1)', [empty]);
  const { rows: before } = await admin.query('select pg_current_wal_insert_lsn() as lsn');
  const children = Array.from({ length: replicas }, () =>
    fork(fileURLToPath(import.meta.url), [url, JSON.stringify(job)], {
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
  if (rows[0].count !== answered) throw new Error(`${answered - rows[0].count} were lost`);
  const waits = results.flatMap((result) => result.waits).sort((a, b) => a - b);
  const at = (share: number) => (waits[Math.floor(waits.length * share)] ?? 0).toFixed(2);
  const commits = sum((result) => result.commits);
  const share = (part: number) => (part / commits).toFixed(2);
  const second = (n: number) => Math.round((n / job.ms) * 1000);
  const cells = [job.strategy, load.name, replicas, second(answered), at(0.5), at(0.99)];
  cells.push(second(commits), share(sum((r) => r.tries)), share(sum((r) => r.unlocked)));
  console.log(`| ${[...cells, Math.round(rows[0].wal / commits)].join(' | ')} |`);
}

interface Job {
  readonly strategy: string;
  readonly callers: number;
  readonly pauseMs: number;
  readonly ms: number;
}

interface Load {
  readonly name: string;
  /** In all. */
  readonly callers: number;
  readonly pauseMs: number;
}

const LOADS: readonly Load[] = [
  { name: 'full', callers: 64, pauseMs: 0 },
  { name: 'calm', callers: 16, pauseMs: 80 },
];

const [first, job] = process.argv.slice(2);
if (process.send !== undefined) {
  process.send(await replica(first!, JSON.parse(job!) as Job));
  process.disconnect();
} else {
  const ms = Number(first ?? 3) * 1_000;
  const server = await PostgresServer.start();
  try {
    const head = 'strategy | load | replicas | admissions/s | p50 ms | p99 ms | commits/s';
    console.log(`| ${head} | tries | without the lock | WAL bytes |\n|${'---|'.repeat(10)}`);
    for (const load of LOADS) {
      for (const replicas of REPLICAS) {
        for (const strategy of Object.keys(STRATEGIES)) {
          const callers = load.callers / replicas;
          const { pauseMs } = load;
          await measure(server.url(), load, replicas, { strategy, callers, pauseMs, ms });
        }
      }
    }
  } finally {
    await server.stop();
  }
}

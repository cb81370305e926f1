/**
 * The Postgres store's cost of an admission: through the port, and as bare commits of the driver.
 *
 *   node --experimental-transform-types --import ./test/support/run-typescript.mjs \
 *     test/bench/postgres-store.ts [seconds]
 *
 * Starts a Postgres of its own. Callers come back as soon as they are answered. Each replica is a
 * process.
 */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { openPostgresStateRepository } from '../../src/state/postgres/postgres-repository.js';
import type { Decide } from '../../src/state/state-repository.js';
import { PostgresServer } from '../support/postgres-server.js';
import { fullScopeState } from '../support/scope-states.js';

interface Measured {
  readonly answered: number;
  /** In ms, sorted. */
  readonly waits: readonly number[];
}

/** An admission as it weighs: some counters of the hot part change. */
const admit: Decide<number> = (state, now) => {
  const base = state.hot.sequence === 0 ? fullScopeState() : state;
  const { hot } = base;
  const limit = hot.limits['tokens']!;
  return {
    state: {
      ...base,
      hot: {
        ...hot,
        lost: null,
        limits: { ...hot.limits, tokens: { ...limit, used: limit.used + 1_000 } },
        sequence: hot.sequence + 1,
        firstAdmittedAt: now,
      },
    },
    outcome: hot.sequence,
  };
};

async function load(callers: number, ms: number, call: () => Promise<unknown>): Promise<Measured> {
  const waits: number[] = [];
  const end = performance.now() + ms;
  let answered = 0;
  const caller = async () => {
    for (let since = performance.now(); since < end;) {
      await call();
      const now = performance.now();
      waits.push(now - since);
      since = now;
      answered += 1;
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
  return { answered, waits: waits.sort((a, b) => a - b) };
}

async function port(url: string, callers: number, ms: number): Promise<Measured> {
  const repository = await openPostgresStateRepository({
    url,
    instance: `bench-${process.pid}`,
    loss: { onCorrupt: 'refuse', onEmpty: 'trust' },
  });
  await load(callers, ms / 4, () => repository.update('bench', admit));
  const measured = await load(callers, ms, () => repository.update('bench', admit));
  await repository.close();
  return measured;
}

/** The same two round trips with a document of the same size, folded, and nothing else. */
async function bare(url: string, callers: number, ms: number): Promise<Measured> {
  const client = new pg.Client({ connectionString: url, pipeline: true });
  await client.connect();
  await client.query(`drop table if exists bare`);
  await client.query(
    `create table bare (id int primary key, hot json not null) with (fillfactor = 10)`,
  );
  const text = JSON.stringify(fullScopeState().hot);
  await client.query('insert into bare values (1, $1)', [text]);
  let waiting: (() => void)[] = [];
  let running = false;
  const run = async () => {
    running = true;
    while (waiting.length > 0) {
      const fold = waiting;
      waiting = [];
      await Promise.all([
        client.query('begin'),
        client.query('select hot::text from bare where id = $1 for update', [1]),
      ]);
      await Promise.all([
        client.query('update bare set hot = $2 where id = $1', [1, text]),
        client.query('commit'),
      ]);
      for (const resolve of fold) resolve();
      await Promise.resolve();
    }
    running = false;
  };
  const call = () =>
    new Promise<void>((resolve) => {
      waiting.push(resolve);
      if (!running) void run();
    });
  await load(callers, ms / 4, call);
  const measured = await load(callers, ms, call);
  await client.end();
  return measured;
}

async function replicas(
  url: string,
  count: number,
  callers: number,
  ms: number,
): Promise<Measured> {
  const children = Array.from({ length: count }, () =>
    fork(fileURLToPath(import.meta.url), [url, String(callers), String(ms)], {
      execArgv: process.execArgv,
    }),
  );
  const results = await Promise.all(
    children.map(
      (child) =>
        new Promise<Measured>((resolve, reject) => {
          child.once('message', resolve as (message: unknown) => void);
          child.once('exit', (code) => reject(new Error(`a replica ended with ${code}`)));
        }),
    ),
  );
  const waits = results.flatMap((result) => result.waits).sort((a, b) => a - b);
  return { waits, answered: results.reduce((sum, result) => sum + result.answered, 0) };
}

function row(name: string, callers: number, { answered, waits }: Measured, ms: number): void {
  const at = (share: number) => (waits[Math.floor(waits.length * share)] ?? 0).toFixed(2);
  const rate = Math.round((answered / ms) * 1000);
  console.log(`| ${name} | ${callers} | ${rate} | ${at(0.5)} | ${at(0.99)} |`);
}

const [first, second, third] = process.argv.slice(2);
if (process.send !== undefined) {
  const { answered, waits } = await port(first!, Number(second), Number(third));
  process.send({ answered, waits: waits.filter((_, index) => index % 10 === 0) });
  process.disconnect();
} else {
  const ms = Number(first ?? 5) * 1_000;
  const server = await PostgresServer.start();
  try {
    console.log('| what | callers | admissions/s | p50 ms | p99 ms |\n|---|---|---|---|---|');
    for (const callers of [1, 64]) {
      row('bare commit, folded', callers, await bare(server.url(), callers, ms), ms);
      row('the store', callers, await port(server.url(), callers, ms), ms);
    }
    for (const count of [4, 8]) {
      row(`${count} replicas`, 64 * count, await replicas(server.url(), count, 64, ms), ms);
    }
    const [before] = await walOf(server.url());
    const { answered } = await port(server.url(), 1, ms);
    const [after] = await walOf(server.url());
    console.log(`\nWAL a commit: ${Math.round((after! - before!) / (answered * 1.25))} bytes`);
  } finally {
    await server.stop();
  }
}

async function walOf(url: string): Promise<number[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const { rows } = await client.query("select pg_current_wal_insert_lsn() - '0/0' as bytes");
  await client.end();
  return rows.map(({ bytes }) => Number(bytes));
}

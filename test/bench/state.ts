import { readFile } from 'node:fs/promises';
import { SteadyClock } from '../../src/platform/clock.js';
import { openPostgresStateRepository } from '../../src/state/postgres/postgres-repository.js';
import { openSqliteStateRepository } from '../../src/state/sqlite/sqlite-repository.js';
import type { LossPolicy, StateRepository } from '../../src/state/state-repository.js';
import { FileStore } from '../support/file-store.js';
import { PostgresServer } from '../support/postgres-server.js';
import { sql } from '../support/postgres-store.js';
import { fullScopeState, increment, withSequence } from '../support/scope-states.js';
import { TemporaryDirectory } from '../support/temporary-directory.js';
import {
  appends,
  type BareCommits,
  folded,
  postgresUpdates,
  sqliteUpdates,
} from './bare-commits.js';
import { format, median, ratios, spread, table } from './figures.js';
import type { Goal, Suite, SuiteResult } from './suite.js';

interface OpenedStore {
  readonly repository: StateRepository;
  readonly bare: BareCommits;
  /** Bytes that were written for durability so far. */
  written(): Promise<number>;
  dispose(): Promise<void>;
}

interface BenchStore {
  readonly name: string;
  /** Least updates a second, as a multiple of the raw loop's, by the number of callers. */
  readonly goals: Readonly<Record<number, number>>;
  /** Most ms at the median with 64 callers, and as a multiple of the bare commits'. */
  readonly p50?: { readonly ms: number; readonly ofBare: number };
  open(): Promise<OpenedStore>;
}

/** As long as the document of a scope in use. */
const DOCUMENTS = [1, 2].map((sequence) =>
  JSON.stringify(withSequence(fullScopeState(), sequence).hot),
) as [string, string];
const RECORD = Buffer.from(DOCUMENTS[0]);

const STORES: readonly BenchStore[] = [
  {
    name: 'file',
    goals: { 1: 0.7, 64: 20, 256: 60 },
    open: openFile,
  },
  {
    name: 'sqlite',
    goals: {},
    p50: { ms: 0.4, ofBare: 1.5 },
    open: openSqlite,
  },
  { name: 'postgres', goals: {}, p50: { ms: 0.8, ofBare: 1.5 }, open: openPostgres },
];

const LOSS: LossPolicy = { onCorrupt: 'cautious', onEmpty: 'trust' };

async function openFile(): Promise<OpenedStore> {
  const store = new FileStore();
  const repository = await store.open();
  const dispose = () => store.dispose();
  return { repository, bare: await appends(RECORD), written: writtenBytes, dispose };
}

/** On the thread that it has in production; the store of the tests writes on theirs. */
async function openSqlite(): Promise<OpenedStore> {
  const directory = new TemporaryDirectory();
  const repository = await openSqliteStateRepository({
    path: directory.at('state.db'),
    instance: 'bench',
    loss: LOSS,
    clock: new SteadyClock(),
  });
  const dispose = async () => {
    await repository.close();
    directory.dispose();
  };
  return { repository, bare: await sqliteUpdates(DOCUMENTS), written: writtenBytes, dispose };
}

async function openPostgres(): Promise<OpenedStore> {
  const server = await PostgresServer.start();
  const url = server.url();
  const repository = await openPostgresStateRepository({ url, instance: 'bench', loss: LOSS });
  const written = async () => {
    const lsn = "select pg_current_wal_insert_lsn() - '0/0' as bytes";
    return Number((await sql<{ bytes: string }>(url, lsn))[0]!.bytes);
  };
  const dispose = async () => {
    await repository.close();
    await server.stop();
  };
  return { repository, bare: await postgresUpdates(url, DOCUMENTS), written, dispose };
}

const CALLERS = [1, 16, 64, 256];
interface Run {
  readonly updatesPerSecond: number;
  readonly p50: number;
  readonly p99: number;
  readonly bytesPerUpdate: number;
}

/** What the disk can do for one who appends the hot part and waits for it, again and again. */
async function rawLoop(durationMs: number): Promise<Run> {
  const { commit, dispose } = await appends(RECORD);
  const run = await measure(1, durationMs, writtenBytes, commit);
  await dispose();
  return run;
}

async function measure(
  callers: number,
  durationMs: number,
  written: () => Promise<number>,
  update: () => Promise<unknown>,
): Promise<Run> {
  const latencies: number[] = [];
  const before = await written();
  const start = performance.now();
  const end = start + durationMs;
  const caller = async () => {
    for (let now = start; now < end;) {
      await update();
      const after = performance.now();
      latencies.push(after - now);
      now = after;
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
  const seconds = (performance.now() - start) / 1000;
  latencies.sort((a, b) => a - b);
  return {
    updatesPerSecond: latencies.length / seconds,
    p50: latencies[Math.floor(latencies.length * 0.5)] as number,
    p99: latencies[Math.floor(latencies.length * 0.99)] as number,
    bytesPerUpdate: ((await written()) - before) / latencies.length,
  };
}

function atMost(most: number, value: number, unit: string): Omit<Goal, 'what'> {
  return { goal: `≤ ${most}${unit}`, got: `${format(value, 2)}${unit}`, met: value <= most };
}

/** What this process has handed to the system for writing so far. */
async function writtenBytes(): Promise<number> {
  return Number(/wchar: (\d+)/.exec(await readFile('/proc/self/io', 'utf8'))?.[1]);
}

/**
 * Durable updates through the port, beside what the disk can do in the same second, and beside bare
 * commits of the same document by the same driver, folded in the same way: the physical limit.
 */
export const state: Suite = {
  name: 'state',
  title: `Durable updates through the port, beside an append of ${RECORD.length} bytes and fdatasync`,
  async run({ repetitions, scale }): Promise<SuiteResult> {
    const durationMs = 1_500 * scale;
    const runs = new Map<string, Run[]>();
    const note = (name: string, run: Run) => runs.set(name, [...(runs.get(name) ?? []), run]);
    for (let repetition = 0; repetition < repetitions; repetition += 1) {
      note('raw loop', await rawLoop(durationMs));
      for (const store of STORES) {
        const { repository, bare, written, dispose } = await store.open();
        await repository.update('bench', () => ({ state: fullScopeState(), outcome: null }));
        for (const callers of CALLERS) {
          const bareUpdate = folded(bare.commit);
          const update = () => repository.update('bench', increment);
          await measure(callers, durationMs / 5, written, bareUpdate);
          const name = `${store.name}, ${callers}`;
          note(`${name}, bare`, await measure(callers, durationMs, written, bareUpdate));
          await measure(callers, durationMs / 5, written, update);
          note(name, await measure(callers, durationMs, written, update));
        }
        await bare.dispose();
        await dispose();
      }
    }
    const speed = (name: string) =>
      (runs.get(name) ?? []).map(({ updatesPerSecond }) => updatesPerSecond);
    const raw = speed('raw loop');
    const goals = STORES.flatMap(({ name, goals: least }) =>
      Object.entries(least).map(([callers, goal]): Goal => {
        const ratio = median(ratios(speed(`${name}, ${callers}`), raw));
        const what = `${name}, ${callers} callers, of the raw loop`;
        return { what, goal: `≥ ${goal}`, got: format(ratio, 2), met: ratio >= goal };
      }),
    );
    const p50s = (name: string) => (runs.get(name) ?? []).map(({ p50 }) => p50);
    for (const { name, p50 } of STORES) {
      if (p50 === undefined) continue;
      const own = p50s(`${name}, 64`);
      const [ms, ofBare] = [median(own), median(ratios(own, p50s(`${name}, 64, bare`)))];
      goals.push(
        { what: `${name}, 64 callers, p50`, ...atMost(p50.ms, ms, ' ms') },
        { what: `${name}, 64 callers, p50 of bare`, ...atMost(p50.ofBare, ofBare, '') },
      );
    }
    const rows = [...runs].map(([name, all]) => [
      name,
      spread(all.map(({ updatesPerSecond }) => updatesPerSecond)),
      spread(ratios(speed(name), raw), 2),
      spread(
        all.map(({ p50 }) => p50),
        2,
      ),
      spread(
        all.map(({ p99 }) => p99),
        2,
      ),
      format(median(all.map(({ bytesPerUpdate }) => bytesPerUpdate))),
    ]);
    const head = ['store, callers', 'updates/s', 'of raw', 'p50 ms', 'p99 ms', 'bytes an update'];
    return { table: table(head, rows), goals, raw: Object.fromEntries(runs) };
  },
};

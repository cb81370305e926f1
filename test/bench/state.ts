import { open, readFile, rm } from 'node:fs/promises';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { StateRepository } from '../../src/state/state-repository.js';
import { openPostgresStateRepository } from '../../src/state/postgres/postgres-repository.js';
import { FileStore } from '../support/file-store.js';
import { PostgresServer } from '../support/postgres-server.js';
import { fullScopeState, increment } from '../support/scope-states.js';
import { SqliteStore } from '../support/sqlite-store.js';
import { format, median, ratios, spread, table } from './figures.js';
import type { Goal, Suite, SuiteResult } from './suite.js';

interface BenchStore {
  readonly name: string;
  /** Least updates a second, as a multiple of the raw loop's, by the number of callers. */
  readonly goals: Readonly<Record<number, number>>;
  open(): Promise<{ readonly repository: StateRepository; dispose(): Promise<void> }>;
}

const STORES: readonly BenchStore[] = [
  {
    name: 'file',
    goals: { 1: 0.7, 64: 20, 256: 60 },
    open: async () => {
      const store = new FileStore();
      return { repository: await store.open(), dispose: () => store.dispose() };
    },
  },
  {
    name: 'sqlite',
    goals: {},
    open: async () => {
      const store = new SqliteStore();
      return { repository: await store.open(), dispose: () => store.dispose() };
    },
  },
  {
    name: 'postgres',
    goals: {},
    open: async () => {
      const server = await PostgresServer.start();
      const repository = await openPostgresStateRepository({
        url: server.url(),
        instance: 'bench',
        loss: { onCorrupt: 'cautious', onEmpty: 'trust' },
      });
      const dispose = async () => {
        await repository.close();
        await server.stop();
      };
      return { repository, dispose };
    },
  },
];

const CALLERS = [1, 16, 64, 256];
/** As long as the document of a scope in use. */
const RECORD = Buffer.from(JSON.stringify(fullScopeState().hot));

interface Run {
  readonly updatesPerSecond: number;
  readonly p50: number;
  readonly p99: number;
  readonly bytesPerUpdate: number;
}

/** What the disk can do for one who appends the hot part and waits for it, again and again. */
async function rawLoop(durationMs: number): Promise<Run> {
  const directory = mkdtempSync(join(tmpdir(), 'tidegate-bench-raw-'));
  const file = await open(join(directory, 'journal'), 'a');
  const run = await measure(1, durationMs, async () => {
    await file.write(RECORD);
    await file.datasync();
  });
  await file.close();
  await rm(directory, { recursive: true });
  return run;
}

async function measure(
  callers: number,
  durationMs: number,
  update: () => Promise<unknown>,
): Promise<Run> {
  const latencies: number[] = [];
  const written = await writtenBytes();
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
    bytesPerUpdate: ((await writtenBytes()) - written) / latencies.length,
  };
}

/** What this process has handed to the system for writing so far. */
async function writtenBytes(): Promise<number> {
  return Number(/wchar: (\d+)/.exec(await readFile('/proc/self/io', 'utf8'))?.[1]);
}

/** Durable updates through the port, beside what the disk can do in the same second. */
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
        const { repository, dispose } = await store.open();
        await repository.update('bench', () => ({ state: fullScopeState(), outcome: null }));
        for (const callers of CALLERS) {
          const update = () => repository.update('bench', increment);
          await measure(callers, durationMs / 5, update);
          note(`${store.name}, ${callers}`, await measure(callers, durationMs, update));
        }
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

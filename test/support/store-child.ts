/**
 * A process with a store of its own, to be killed: `store-child.ts MODE PATH INSTANCE`; a path that ends
 * in `.db` is a SQLite store's.
 * Says a line when it is open, and one for each update that was answered. Ends with its standard input: what it runs
 * under may be killed, and leave it alone.
 */
import { constants, rmSync, writeFileSync, writeSync } from 'node:fs';
import type { OpenMode } from 'node:fs';
import { flushCompileCache } from 'node:module';
import type { Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { SteadyClock } from '../../src/platform/clock.js';
import { openRepository } from '../../src/open-repository.js';
import { SYSTEM_FILES } from '../../src/platform/durable-file.js';
import { openFileStateRepository } from '../../src/state/file/file-repository.js';
import { MemoryStateRepository } from '../../src/state/memory/memory-repository.js';
import type { StateRepository } from '../../src/state/state-repository.js';
import { increment, sequenceOf } from './scope-states.js';

const [mode = '', path = '', instance = ''] = process.argv.slice(2);
const clock = new SteadyClock();

function open(): Promise<StateRepository> {
  const kind = path.endsWith('.db') ? 'sqlite' : 'file';
  const loss = { onCorrupt: 'cautious', onEmpty: 'trust' } as const;
  if (mode === 'write-carelessly' && kind === 'file') {
    return openFileStateRepository({ path, instance, clock, loss, files: CARELESS_FILES });
  }
  return openRepository({ kind, path }, { instance, clock, loss });
}

/** Writes go to the system, and not through it. */
const CARELESS_FILES = {
  ...SYSTEM_FILES,
  open: (path: string, flags: OpenMode, permissions?: number) =>
    SYSTEM_FILES.open(
      path,
      typeof flags === 'number' ? flags & ~constants.O_DSYNC : flags,
      permissions,
    ),
} as typeof SYSTEM_FILES;

/** At once and in order: nothing may be left in this process when it is killed. */
function say(line: string): void {
  for (let rest = Buffer.from(`${line}\n`); rest.length > 0;) {
    try {
      rest = rest.subarray(writeSync(1, rest));
    } catch (error) {
      // Whoever listens is slower than this.
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
    }
  }
}

const CALLERS = 16;

async function write(repository: StateRepository): Promise<void> {
  const caller = async () => {
    for (;;) say(`answered ${(await repository.update('a', increment)) + 1}`);
  };
  await Promise.all(Array.from({ length: CALLERS }, caller));
}

/** Fills its disk, sees what updates say, makes room, and goes on. */
async function fill(repository: StateRepository): Promise<void> {
  const ballast = join(dirname(path), 'ballast');
  let answered = 0;
  const update = async () => {
    answered = (await repository.update('a', increment)) + 1;
  };
  await update();
  try {
    for (let n = 0; ; n += 1) writeFileSync(`${ballast}${n}`, Buffer.alloc(4096));
  } catch (error) {
    say(`full ${(error as NodeJS.ErrnoException).code}`);
  }
  try {
    for (;;) await update();
  } catch (error) {
    say(`refused ${(error as NodeJS.ErrnoException).code}`);
  }
  say(`problem ${repository.health().problem}`);
  for (let n = 0; n < 1_000; n += 1) rmSync(`${ballast}${n}`, { force: true });
  while (!repository.health().healthy) await new Promise((resolve) => setTimeout(resolve, 20));
  const before = answered;
  await update();
  say(`healed ${answered - before}`);
  await repository.close();
  const again = await open();
  say(`kept ${(await sequenceOf(again, 'a')) === answered}`);
  await again.close();
}

process.stdin.on('close', () => process.kill(process.pid, 'SIGKILL')).resume();
// Nor does it live for that alone.
(process.stdin as Socket).unref();

try {
  const repository = mode === 'forget' ? new MemoryStateRepository(clock) : await open();
  const { healthy, problem } = repository.health();
  // It will be killed, and would leave nothing compiled behind.
  flushCompileCache();
  say(`open ${healthy ? 'healthy' : problem}`);
  if (mode === 'hold') setInterval(() => undefined, 60_000);
  else if (mode === 'fill') await fill(repository);
  else await write(repository);
} catch (error) {
  say(`${(error as NodeJS.ErrnoException).code}: ${(error as Error).message}`);
}

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import type { Reporter, TestCase, TestModule, Vitest } from 'vitest/node';

/** The longest file takes a minute and a half alone; Vitest bounds tests, but not a file, nor its process's end. */
const STUCK_MS = 300_000;
/** From the last file's end to the end of the run. */
const END_MS = 60_000;

/**
 * Breaks off a run that has come to a halt, and says where: a call that never returns holds a file for good, and a
 * process that a test left behind the end of the run.
 */
export default class StuckRun implements Reporter {
  readonly #files = new Set<string>();
  readonly #tests = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #isWatching = false;

  onInit({ config }: Vitest): void {
    this.#isWatching = config.watch;
  }

  onTestRunStart(): void {
    this.#wait(STUCK_MS);
  }

  onTestModuleQueued(module: TestModule): void {
    this.#files.add(module.relativeModuleId);
  }

  onTestModuleEnd(module: TestModule): void {
    this.#files.delete(module.relativeModuleId);
    this.#wait(STUCK_MS);
  }

  onTestCaseReady(test: TestCase): void {
    this.#tests.add(nameOf(test));
  }

  onTestCaseResult(test: TestCase): void {
    this.#tests.delete(nameOf(test));
  }

  onTestRunEnd(): void {
    this.#wait(END_MS);
  }

  #wait(ms: number): void {
    clearTimeout(this.#timer);
    if (this.#isWatching) return;
    this.#timer = setTimeout(() => this.#breakOff(ms), ms).unref();
  }

  #breakOff(ms: number): void {
    const processes = processesSince(process.pid);
    const lines = [
      `The run has come to a halt: nothing has ended for ${ms / 1_000} s, and it is broken off.`,
      ...[...this.#tests].map((name) => `under way: ${name}`),
      ...[...this.#files].map((name) => `not ended: ${name}`),
      ...processes.map(({ line }) => `process: ${line}`),
    ];
    console.error(lines.join('\n'));
    for (const { pid } of processes) kill(pid);
    process.exit(1);
  }
}

function nameOf(test: TestCase): string {
  return `${test.module.relativeModuleId} > ${test.fullName}`;
}

interface Process {
  readonly pid: number;
  readonly group: string;
  readonly beganTicks: number;
  /** Id, parent, state, what in the kernel it waits for, and command. */
  readonly line: string;
}

/** Those of the same process group that began later: what a run has started. None where there is no /proc. */
function processesSince(pid: number): Process[] {
  if (!existsSync('/proc/self/stat')) return [];
  const ids = readdirSync('/proc').map(Number).filter(Number.isInteger);
  const all = ids.flatMap((id) => look(id) ?? []);
  const own = all.find((process) => process.pid === pid);
  if (own === undefined) return [];
  return all.filter(({ group, beganTicks }) => group === own.group && beganTicks > own.beganTicks);
}

/** Null: it has ended meanwhile. */
function look(pid: number): Process | null {
  try {
    const read = (file: string) => readFileSync(`/proc/${pid}/${file}`, 'utf8');
    // After the name, which may hold anything; proc_pid_stat(5).
    const fields = read('stat')
      .replace(/^.*\) /s, '')
      .split(' ');
    const [state = '', parent = '', group = ''] = fields;
    const command = read('cmdline').replaceAll('\0', ' ').slice(0, 200) || read('comm').trim();
    const line = `${pid} of ${parent}, ${state}, ${read('wchan')}: ${command}`;
    return { pid, group, beganTicks: Number(fields[19]), line };
  } catch {
    return null;
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended meanwhile.
  }
}

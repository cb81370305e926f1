import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { COMPILE_CACHE } from './compile-cache.js';
import { until } from './until.js';

const HOOKS = fileURLToPath(new URL('run-typescript.mjs', import.meta.url));

/** Arguments of node with which it runs this repository's sources. */
export const TYPESCRIPT = [
  '--experimental-transform-types',
  '--disable-warning=ExperimentalWarning',
  '--import',
  HOOKS,
];

/** What runs a TypeScript file of this repository in a process of its own. */
export function typescript(script: string): string[] {
  return [process.execPath, ...TYPESCRIPT, fileURLToPath(new URL(script, import.meta.url))];
}

const MOST_SAID = 10_000;
const KILL_MS = 10_000;

/**
 * A child process, and the lines it says. Its standard input is open as long as its parent wants it: one that a
 * killed wrapper, or a parent that is no more, left alone ends by that. Its errors come to us: standard error that
 * it shared would keep its parent's own parent waiting for the end.
 */
export class Child {
  readonly lines: string[] = [];
  readonly #process: ChildProcessWithoutNullStreams;
  #errors = '';
  readonly #closed: Promise<unknown>;
  readonly #waiting = new Set<() => void>();

  constructor(command: readonly string[]) {
    const [program, ...parameters] = command;
    this.#process = spawn(program!, parameters, {
      env: { ...process.env, ...COMPILE_CACHE },
      stdio: 'pipe',
    });
    // It may have ended before it reads.
    this.#process.stdin.on('error', () => {});
    this.#process.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#errors = (this.#errors + text).slice(-MOST_SAID);
    });
    const lines = createInterface({ input: this.#process.stdout });
    lines.on('line', (line) => {
      this.lines.push(line);
      for (const look of this.#waiting) look();
    });
    this.#closed = once(lines, 'close');
    void this.#closed.then(() => this.#waiting.forEach((look) => look()));
  }

  /** The first line that begins so; rejects if the child ends without saying it. */
  async says(start: string): Promise<string> {
    return this.#when(() => this.lines.find((line) => line.startsWith(start)), start);
  }

  async saysLines(count: number): Promise<void> {
    await this.#when(() => (this.lines.length >= count ? 'enough' : undefined), `${count} lines`);
  }

  /** Resolves when it is gone and all that it said has been read. */
  get ended(): Promise<unknown> {
    return this.#closed;
  }

  /** SIGKILL; resolves when all that it said has been read. */
  async kill(): Promise<void> {
    this.#process.kill('SIGKILL');
    this.#process.stdin.destroy();
    let isOver = false;
    void this.#closed.then(() => (isOver = true));
    await until(
      () => isOver,
      KILL_MS,
      () => `the child does not end: ${this.#said}`,
    );
  }

  get #said(): string {
    return [...this.lines, this.#errors].join(' / ').slice(-MOST_SAID);
  }

  #when(find: () => string | undefined, what: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const look = () => {
        const found = find();
        if (found !== undefined) resolve(found);
        else if (!this.#process.stdout.readableEnded) return;
        else reject(new Error(`the child ended without ${what}: ${this.#said}`));
        this.#waiting.delete(look);
      };
      this.#waiting.add(look);
      look();
    });
  }
}

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { COMPILE_CACHE } from './compile-cache.js';

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

/** A child process, and the lines it says. */
export class Child {
  readonly lines: string[] = [];
  readonly #process: ChildProcess;
  readonly #closed: Promise<unknown>;
  readonly #waiting = new Set<() => void>();

  constructor(command: readonly string[]) {
    const [program, ...parameters] = command;
    this.#process = spawn(program!, parameters, {
      env: { ...process.env, ...COMPILE_CACHE },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const lines = createInterface({ input: this.#process.stdout! });
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
    await this.#closed;
  }

  #when(find: () => string | undefined, what: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const look = () => {
        const found = find();
        if (found !== undefined) resolve(found);
        else if (!this.#process.stdout!.readableEnded) return;
        else reject(new Error(`the child ended without ${what}: ${this.lines.join(' / ')}`));
        this.#waiting.delete(look);
      };
      this.#waiting.add(look);
      look();
    });
  }
}

import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Status } from '../../src/admin/status.js';
import { COMPILE_CACHE } from './compile-cache.js';
import { until } from './until.js';

const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
/** As `npm start` and the unit have it. */
const FLAGS = ['--max-semi-space-size=12'];
const START_MS = 60_000;

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A real `tidegate serve` from dist, on free ports of loopback. */
export class TidegateProcess {
  readonly exited: Promise<Exit>;
  out = '';
  err = '';
  proxyUrl = '';
  controlUrl = '';

  private constructor(readonly child: ChildProcess) {
    child.stdout?.setEncoding('utf8').on('data', (text: string) => (this.out += text));
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.err += text));
    this.exited = new Promise((resolve) =>
      child.once('exit', (code, signal) => resolve({ code, signal })),
    );
  }

  /** Spawns without waiting; `wrapper` is a command that runs the command after it. */
  static spawn(
    env: Readonly<Record<string, string>>,
    wrapper: readonly string[] = [],
  ): TidegateProcess {
    const command = [...wrapper, process.execPath, ...FLAGS, MAIN, 'serve'];
    const child = spawn(command[0] as string, command.slice(1), {
      env: {
        PATH: process.env['PATH'] ?? '',
        TIDEGATE_LISTEN: '127.0.0.1:0',
        TIDEGATE_ADMIN_LISTEN: '127.0.0.1:0',
        TIDEGATE_INSTANCE: 'test',
        ...COMPILE_CACHE,
        ...env,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    return new TidegateProcess(child);
  }

  /** Spawns and waits until both ports are open; rejects with what it wrote if it ends before. */
  static async start(
    env: Readonly<Record<string, string>>,
    wrapper: readonly string[] = [],
  ): Promise<TidegateProcess> {
    const tidegate = TidegateProcess.spawn(env, wrapper);
    await tidegate.untilServing();
    return tidegate;
  }

  async untilServing(): Promise<void> {
    const ended = this.exited.then(({ code, signal }) => {
      throw new Error(`tidegate ended (${code ?? signal}) before it served:\n${this.err}`);
    });
    ended.catch(() => {});
    await Promise.race([
      ended,
      until(
        () => this.out.includes('Point an agent'),
        START_MS,
        () => this.err,
      ),
    ]);
    this.proxyUrl = /proxy\s+(http:\S+)/.exec(this.out)?.[1] ?? '';
    this.controlUrl = /control\s+(http:\S+)/.exec(this.out)?.[1] ?? '';
  }

  /** SIGKILL; resolves when the process is gone. */
  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.exited;
  }

  /** SIGTERM; resolves with how it ended. */
  async stop(): Promise<Exit> {
    this.child.kill('SIGTERM');
    return this.exited;
  }

  /** Stops the process for as long as `meanwhile` takes: what comes then, it meets all at once. */
  async frozen(meanwhile: () => Promise<void>): Promise<void> {
    this.child.kill('SIGSTOP');
    const stat = `/proc/${this.child.pid}/stat`;
    await until(() => / T /.test(readFileSync(stat, 'utf8')));
    try {
      await meanwhile();
    } finally {
      this.child.kill('SIGCONT');
    }
  }

  /** Memory of the process that is in RAM, in bytes. */
  rssBytes(): number {
    const status = readFileSync(`/proc/${this.child.pid}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
  }

  async status(): Promise<Status> {
    const response = await fetch(`${this.controlUrl}/status`);
    return (await response.json()) as Status;
  }

  async scope(): Promise<Status['scopes'][number]> {
    const { scopes } = await this.status();
    return scopes[0] as Status['scopes'][number];
  }

  /** One Messages request through the proxy. */
  call(body: object = {}, init: RequestInit = {}): Promise<Response> {
    return fetch(`${this.proxyUrl}/v1/messages`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-api-key': 'sk-ant-test' },
      body: JSON.stringify({ model: 'claude-test', max_tokens: 10, messages: [], ...body }),
      ...init,
    });
  }

  /** Lines of the log, parsed. */
  log(): { readonly message: string; readonly [field: string]: unknown }[] {
    return this.err
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line));
  }
}

import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, chownSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from './free-port.js';
import { binariesFor, run, type RunAs, runAs } from './postgres-binaries.js';
import { TemporaryDirectory } from './temporary-directory.js';

const START_MS = 20_000;
/** A stop that waits for somebody becomes a crash then. */
const STOP_MS = 10_000;
const USER = 'tidegate';

/**
 * A real Postgres of our own, on a free port of loopback, with `fsync` on. Can be killed, frozen and
 * started again on the same data.
 */
export class PostgresServer {
  readonly #root: TemporaryDirectory;
  readonly #as: RunAs;
  readonly #binaries: string;
  readonly #data: string;
  readonly #settings: readonly string[];
  readonly port: number;
  #process: ChildProcess | null = null;
  #said = '';

  private constructor(
    root: TemporaryDirectory,
    as: RunAs,
    binaries: string,
    port: number,
    settings: Readonly<Record<string, string>>,
  ) {
    this.#root = root;
    this.#as = as;
    this.#binaries = binaries;
    this.#data = root.at('data');
    this.port = port;
    this.#settings = Object.entries({ ...DEFAULTS, ...settings }).flatMap(([name, value]) => [
      '-c',
      `${name}=${value}`,
    ]);
  }

  /** @param files Put into its data directory, in the place of those that it was made with. */
  static async start(
    settings: Readonly<Record<string, string>> = {},
    files: Readonly<Record<string, string>> = {},
  ): Promise<PostgresServer> {
    const root = new TemporaryDirectory();
    try {
      const as = runAs();
      const { uid, gid } = as;
      chmodSync(root.path, 0o755);
      if (uid !== undefined && gid !== undefined) chownSync(root.path, uid, gid);
      const binaries = binariesFor(as, root.path);
      const server = new PostgresServer(root, as, binaries, await freePort(), settings);
      // Only the empty cluster goes unflushed: losing the machine here loses a test.
      const make = ['-U', USER, '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'];
      await run(join(binaries, 'initdb'), ['-D', server.#data, ...make], as);
      for (const [name, text] of Object.entries(files)) {
        const path = join(server.#data, name);
        writeFileSync(path, text, { mode: 0o600 });
        if (uid !== undefined && gid !== undefined) chownSync(path, uid, gid);
      }
      await server.resume();
      return server;
    } catch (error) {
      root.dispose();
      throw error;
    }
  }

  /** A URL of a database on it. */
  url(database = 'postgres'): string {
    return `postgres://${USER}@127.0.0.1:${this.port}/${database}`;
  }

  /** Starts it again on the same data. */
  async resume(): Promise<void> {
    const args = ['-D', this.#data, '-p', String(this.port), ...this.#settings];
    const child = spawn(join(this.#binaries, 'postgres'), args, {
      ...this.#as,
      cwd: '/',
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#process = child;
    this.#said = '';
    await new Promise<void>((resolve, reject) => {
      const fail = () => reject(new Error(`Postgres did not start: ${this.#said}`));
      const timer = setTimeout(fail, START_MS);
      child.once('error', reject).once('exit', fail);
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        this.#said = (this.#said + text).slice(-10_000);
        if (!this.#said.includes('ready to accept connections')) return;
        child.off('exit', fail);
        clearTimeout(timer);
        resolve();
      });
    });
  }

  /** Crashes it: no checkpoint, every connection cut, nothing finished. */
  crash(): Promise<void> {
    return this.#end('SIGQUIT');
  }

  async stop(): Promise<void> {
    await this.#end('SIGINT');
    this.#root.dispose();
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    this.#process = null;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    const impatient = setTimeout(() => child.kill('SIGQUIT'), STOP_MS);
    await ended;
    clearTimeout(impatient);
  }
}

const DEFAULTS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  // Eight replicas with pools of their own, and the tests' connections.
  max_connections: '150',
  shared_buffers: '32MB',
  log_min_messages: 'log',
};

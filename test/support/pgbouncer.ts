import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, writeFileSync } from 'node:fs';
import { freePort, isOpen } from './free-port.js';
import { TemporaryDirectory } from './temporary-directory.js';
import { until } from './until.js';

/** Null: it is installed. */
export const PGBOUNCER_MISSING =
  spawnSync('pgbouncer', ['--version']).status === 0 ? null : 'pgbouncer is not installed';

/** It refuses to run as root. */
const USER = process.getuid?.() === 0 ? ['-u', 'nobody'] : [];

/** The real one, in transaction mode, with three connections to the server. */
export class PgBouncer {
  private constructor(
    private readonly child: ChildProcess,
    private readonly directory: TemporaryDirectory,
    private readonly port: number,
  ) {}

  /** @param schema Of the server's sessions: the pooler takes no `options` from a client. */
  static async open(server: string, schema: string): Promise<PgBouncer> {
    const { hostname, port: serverPort, username, password } = new URL(server);
    const directory = new TemporaryDirectory();
    const port = await freePort();
    const configuration = directory.at('pgbouncer.ini');
    const account = `user=${username}${password === '' ? '' : ` password=${password}`}`;
    writeFileSync(
      configuration,
      `[databases]
       * = host=${hostname} port=${serverPort} ${account} connect_query='set search_path to ${schema}'
       [pgbouncer]
       listen_addr = 127.0.0.1
       listen_port = ${port}
       unix_socket_dir =
       auth_type = any
       pool_mode = transaction
       default_pool_size = 3
       ignore_startup_parameters = options`,
    );
    chmodSync(directory.path, 0o755);
    const child = spawn('pgbouncer', ['-q', ...USER, configuration], { stdio: 'ignore' });
    await until(() => isOpen(port), 10_000);
    return new PgBouncer(child, directory, port);
  }

  through(url: string): string {
    const by = new URL(url);
    by.host = `127.0.0.1:${this.port}`;
    return by.href;
  }

  async close(): Promise<void> {
    if (this.child.exitCode === null) {
      const exited = once(this.child, 'exit');
      this.child.kill('SIGKILL');
      await exited;
    }
    this.directory.dispose();
  }
}

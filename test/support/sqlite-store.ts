import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { type Connection, type Request, RequestServer } from '../../src/state/sqlite/requests.js';
import { openSqliteStateRepository } from '../../src/state/sqlite/sqlite-repository.js';
import { type AdapterOptions, StoreOnDisk } from './store-on-disk.js';

/** A SQLite store of a test's own, written on the test's thread; child processes have one for it. */
export class SqliteStore extends StoreOnDisk {
  readonly path = join(this.directory, 'state.db');
  /** Called before each request; may throw or wait in its place. */
  before: (request: Request) => void | Promise<void> = () => undefined;
  /** Called after each request that succeeded; may throw all the same. */
  after: (request: Request) => void = () => undefined;

  protected adapter(options: AdapterOptions) {
    const connection = new DirectConnection(this);
    return openSqliteStateRepository({ ...options, connection });
  }

  protected another(): this {
    return new SqliteStore(this.time) as this;
  }

  /** The index of the log is memory that processes share; it is made anew where it is missing. */
  protected isLeftOut(name: string): boolean {
    return name.endsWith('-shm');
  }
}

class DirectConnection implements Connection {
  readonly #server: RequestServer;

  constructor(private readonly store: SqliteStore) {
    const { time } = store;
    this.#server = new RequestServer(time === null ? undefined : () => time.monotonic());
  }

  async call(request: Request): Promise<void> {
    // As with a thread, others have their turn meanwhile.
    await turn();
    await this.store.before(request);
    this.#server.serve(request);
    this.store.after(request);
  }

  async close(): Promise<void> {
    this.#server.serve({ call: 'close' });
  }
}

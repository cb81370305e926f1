import { type Commit, StateDatabase } from './state-database.js';
import type { ThreadConnection } from './thread-connection.js';

/** What a state.db is asked to do. One at a time: the next comes after the answer to the last. */
export type Request =
  | { readonly call: 'create' | 'open' | 'copy'; readonly path: string; readonly commit: Commit }
  | { readonly call: 'commit'; readonly commit: Commit }
  | { readonly call: 'checkpoint' | 'close' };

/** Where requests go. */
export type Connection = Pick<ThreadConnection<Request>, 'call' | 'close'>;

/** Does what is asked for, on the thread it is called on. */
export class RequestServer {
  #database: StateDatabase | null = null;

  /** @param monotonic Milliseconds; tests have a time of their own. */
  constructor(private readonly monotonic?: () => number) {}

  serve(request: Request): void {
    switch (request.call) {
      case 'create':
        return StateDatabase.create(request.path, request.commit);
      case 'open':
        this.#database = new StateDatabase(request.path, this.monotonic);
        return this.#database.rewrite(request.commit);
      case 'copy':
        return this.#opened().copyTo(request.path, request.commit);
      case 'commit':
        return this.#opened().commit(request.commit);
      case 'checkpoint':
        return this.#opened().checkpoint();
      case 'close':
        this.#database?.close();
        this.#database = null;
    }
  }

  #opened(): StateDatabase {
    if (this.#database === null) throw new Error('the database is not open');
    return this.#database;
  }
}

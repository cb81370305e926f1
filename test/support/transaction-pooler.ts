import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

const SYNC = 0x53;
const QUERY = 0x51;
const READY = 0x5a;
const IDLE = 0x49;

/** The messages of one direction; whole ones only. */
class Messages {
  #rest: Buffer = Buffer.alloc(0);

  *read(chunk: Buffer): Generator<Buffer> {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    while (this.#rest.length >= 5) {
      const end = 1 + this.#rest.readUInt32BE(1);
      if (this.#rest.length < end) return;
      yield this.#rest.subarray(0, end);
      this.#rest = this.#rest.subarray(end);
    }
  }
}

/** A connection to the server that whoever begins a transaction gets for its length. */
class Backend {
  readonly #socket: Socket;
  readonly #messages = new Messages();
  /** What the server says before it is first ready: the greeting for clients. */
  greeting: Buffer[] = [];
  #onMessage: (message: Buffer) => void;
  readonly ready: Promise<void>;

  constructor(host: string, port: number, startup: Buffer) {
    this.#socket = connect(port, host, () => this.#socket.write(startup));
    this.#socket.setNoDelay(true).on('error', () => undefined);
    this.#onMessage = () => undefined;
    this.ready = new Promise((resolve) => {
      this.#onMessage = (message) => {
        this.greeting.push(Buffer.from(message));
        if (message[0] === READY) resolve();
      };
    });
    this.#socket.on('data', (chunk) => {
      for (const message of this.#messages.read(chunk)) this.#onMessage(message);
    });
  }

  lend(onMessage: (message: Buffer) => void): void {
    this.#onMessage = onMessage;
  }

  write(bytes: Buffer): void {
    this.#socket.write(bytes);
  }

  /** Forgets whatever a client left in the session. */
  async discard(): Promise<void> {
    const text = Buffer.from('discard all\0');
    const message = Buffer.alloc(5 + text.length);
    message[0] = QUERY;
    message.writeUInt32BE(4 + text.length, 1);
    text.copy(message, 5);
    await new Promise<void>((resolve) => {
      this.lend((answer) => void (answer[0] === READY && resolve()));
      this.write(message);
    });
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

/**
 * As PgBouncer pools in transaction mode: a client has a server connection from the first message of
 * a transaction until the server says that it is over, and then gets the one that has rested
 * longest. What a session keeps is thrown away in between.
 */
export class TransactionPooler {
  readonly #server: Server;
  readonly #target: URL;
  readonly #clients = new Set<Socket>();
  readonly #all: Backend[] = [];
  readonly #resting: Backend[] = [];
  #waiting: ((backend: Backend) => void)[] = [];
  /** How often a client got another server connection than the one before. */
  switched = 0;

  private constructor(
    url: string,
    readonly size: number,
  ) {
    this.#target = new URL(url);
    this.#server = createServer((client) => this.#serve(client));
  }

  static async open(url: string, size = 3): Promise<TransactionPooler> {
    const pooler = new TransactionPooler(url, size);
    await new Promise<void>((resolve) => pooler.#server.listen(0, '127.0.0.1', resolve));
    return pooler;
  }

  through(url: string): string {
    const by = new URL(url);
    by.host = `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    return by.href;
  }

  async close(): Promise<void> {
    for (const client of this.#clients) client.destroy();
    for (const backend of this.#all) backend.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #serve(client: Socket): void {
    this.#clients.add(client);
    client.setNoDelay(true).on('error', () => undefined);
    client.on('close', () => this.#clients.delete(client));
    client.once('data', (startup) => void this.#greet(client, startup));
  }

  async #greet(client: Socket, startup: Buffer): Promise<void> {
    const { hostname, port } = this.#target;
    while (this.#all.length < this.size) {
      const backend = new Backend(hostname, Number(port), startup);
      this.#all.push(backend);
      void backend.ready.then(() => this.#rest(backend));
    }
    await this.#all[0]!.ready;
    client.write(Buffer.concat(this.#all[0]!.greeting));
    let backend: Backend | null = null;
    let before: Backend | null = null;
    let open = 0;
    const queue: Buffer[] = [];
    let busy = false;
    const pump = async () => {
      if (busy) return;
      busy = true;
      for (let message = queue.shift(); message !== undefined; message = queue.shift()) {
        // Terminate is the client's own affair.
        if (message[0] === 0x58) continue;
        if (backend === null) {
          const taken = await this.#take();
          backend = taken;
          if (before !== null && before !== taken) this.switched += 1;
          before = taken;
          taken.lend((answer) => {
            client.write(answer);
            if (answer[0] !== READY) return;
            open -= 1;
            if (open > 0 || answer[5] !== IDLE) return;
            backend = null;
            void taken.discard().then(() => this.#rest(taken));
          });
        }
        if (message[0] === SYNC || message[0] === QUERY) open += 1;
        backend.write(message);
      }
      busy = false;
    };
    const messages = new Messages();
    client.on('data', (chunk) => {
      for (const message of messages.read(chunk)) queue.push(Buffer.from(message));
      void pump();
    });
  }

  #take(): Promise<Backend> {
    const backend = this.#resting.shift();
    if (backend !== undefined) return Promise.resolve(backend);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #rest(backend: Backend): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#resting.push(backend);
    else next(backend);
  }
}

import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/** What happens to bytes on their way. */
export type Passing = 'pass' | 'swallow';

/** One connection through the proxy. */
export class Link {
  /** From the client to the server, and back. */
  toServer: Passing = 'pass';
  toClient: Passing = 'pass';

  constructor(
    readonly client: Socket,
    readonly server: Socket,
    readonly onClientData: (link: Link, chunk: Buffer) => void,
  ) {
    client.on('data', (chunk) => {
      this.onClientData(this, chunk);
      if (this.toServer === 'pass') server.write(chunk);
    });
    server.on('data', (chunk) => {
      if (this.toClient === 'pass') client.write(chunk);
    });
    for (const [one, other] of [
      [client, server],
      [server, client],
    ] as const) {
      one.setNoDelay(true);
      one.on('error', () => undefined);
      // A network that is gone tells nobody of an end.
      one.on('close', () => {
        if (this.toServer === 'pass' && this.toClient === 'pass') other.destroy();
      });
    }
  }

  /** Nothing comes through any more, and nobody is told. */
  blackhole(): void {
    this.toServer = 'swallow';
    this.toClient = 'swallow';
  }

  cut(): void {
    this.client.destroy();
    this.server.destroy();
  }
}

/** A TCP proxy of our own in front of a server: cuts and swallows what it is told to. */
export class TcpProxy {
  readonly #server: Server;
  readonly links = new Set<Link>();
  /** Sees what a client sends before it is passed on. */
  onClientData: (link: Link, chunk: Buffer) => void = () => undefined;
  /** New connections are accepted and get no answer. */
  silent = false;

  private constructor(host: string, port: number) {
    this.#server = createServer((client) => {
      const link = new Link(client, connect(port, host), (l, chunk) => this.onClientData(l, chunk));
      if (this.silent) link.blackhole();
      this.links.add(link);
      client.on('close', () => this.links.delete(link));
    });
  }

  /** In front of the server of a URL. */
  static async open(url: string): Promise<TcpProxy> {
    const { hostname, port } = new URL(url);
    const proxy = new TcpProxy(hostname, Number(port));
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  /** The same URL by way of the proxy. */
  through(url: string): string {
    const by = new URL(url);
    by.host = `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    return by.href;
  }

  /** Every connection, and every new one, until it is healed: nothing comes through. */
  blackhole(): void {
    this.silent = true;
    for (const link of this.links) link.blackhole();
  }

  /** New connections work; the old ones stay as they are. */
  heal(): void {
    this.silent = false;
    this.onClientData = () => undefined;
  }

  async close(): Promise<void> {
    for (const link of this.links) link.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

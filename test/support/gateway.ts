import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest';
import type { Status } from '../../src/admin/status.js';
import { FakeUpstream, jsonMessage } from './fake-upstream.js';
import { TemporaryDirectory } from './temporary-directory.js';
import { TidegateProcess } from './tidegate-process.js';
import { until } from './until.js';
import { Wire } from './wire.js';

/** A stop that waits for no exchange takes a fraction of this. */
const STOP_MS = 1_500;

export type Environment = Readonly<Record<string, string>>;

/** A real Tidegate in front of a fake upstream. */
export class Gateway {
  directory!: TemporaryDirectory;
  upstream!: FakeUpstream;
  tidegate!: TidegateProcess;

  /** `env` may depend on where the upstream listens. */
  async open(env: Environment | ((upstream: string) => Environment)): Promise<void> {
    this.directory = new TemporaryDirectory();
    this.upstream = await FakeUpstream.open();
    await this.start(env);
  }

  /** Starts the process, maybe once more on the state that the last one left. */
  async start(env: Environment | ((upstream: string) => Environment) = {}): Promise<void> {
    const { url } = this.upstream;
    this.tidegate = await TidegateProcess.start({
      TIDEGATE_UPSTREAM: url,
      TIDEGATE_STATE: `file:${this.directory.at('state.json')}`,
      ...(typeof env === 'function' ? env(url) : env),
    });
  }

  async close(): Promise<void> {
    await this.tidegate?.kill();
    await this.upstream?.close();
    this.directory?.dispose();
  }

  /** A connection of our own to the proxy. */
  connect(): Promise<Wire> {
    return Wire.open(this.tidegate.proxyUrl);
  }

  /** One request, byte for byte, on a connection of its own. */
  async exchange(request: string | Buffer, options: { bodiless?: boolean } = {}) {
    const wire = await this.connect();
    try {
      await wire.write(request);
      return await wire.answer(options);
    } finally {
      wire.destroy();
    }
  }

  async limit(): Promise<Status['scopes'][number]['limits'][number]> {
    return (await this.tidegate.scope()).limits[0]!;
  }

  /** The upstream's whole charge, once nothing is in flight any more. */
  async settledUse(): Promise<number> {
    await until(async () => (await this.limit()).reserved === 0);
    return (await this.limit()).used;
  }

  /** Waits until everything has settled, and `tokens` have been charged since `before`. */
  async charges(before: number, tokens: number): Promise<void> {
    let used = before;
    await until(
      async () => (used = await this.settledUse()) === before + tokens,
      2_000,
      () => `charged ${used - before} instead of ${tokens}`,
    );
  }

  /** Ends a cooldown, so that the next test begins with an open scope. */
  async clearCooldown(): Promise<void> {
    await fetch(`${this.tidegate.controlUrl}/cooldown/clear`, { method: 'POST' });
  }
}

/**
 * One gateway for all tests of the calling file or block. After each test the process must live; in
 * the end it must stop at once and in good order, for nothing is left on its way.
 */
export function useGateway(env: Environment | ((upstream: string) => Environment) = {}): Gateway {
  const gateway = new Gateway();
  beforeAll(() => gateway.open(env));
  beforeEach(() => {
    gateway.upstream.speakRaw(null);
    gateway.upstream.answer = jsonMessage();
    gateway.upstream.seen.length = 0;
    gateway.upstream.aborted = 0;
  });
  afterEach(() => {
    expect(gateway.tidegate.child.exitCode, gateway.tidegate.err).toBeNull();
  });
  afterAll(async () => {
    const { tidegate } = gateway;
    try {
      await gateway.settledUse();
      const stopped = performance.now();
      expect(await tidegate.stop(), tidegate.err).toEqual({ code: 0, signal: null });
      expect(performance.now() - stopped, 'ms to stop').toBeLessThan(STOP_MS);
    } finally {
      await gateway.close();
    }
  });
  return gateway;
}

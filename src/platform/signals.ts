import { SYSTEM_TIME } from './clock.js';

/** What asks a service to stop: process managers and orchestrators, Ctrl-C, a terminal that closes. */
const STOP_SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;

/**
 * Signals this close together are one request: Ctrl-C goes to every process of a terminal, and npm,
 * which is one of them, hands its own on.
 */
const ONE_REQUEST_MS = 1_000;

export interface SignalSource {
  readonly process: Pick<NodeJS.Process, 'on'>;
  /** In ms; its zero does not matter. */
  readonly monotonic: () => number;
  readonly endAtOnce: () => void;
}

/**
 * Calls `stop` at the first signal that asks for it. A later one ends the process at once, as a
 * person at a terminal expects; durable state is safe at any moment, unless Node ends, see `endAtOnce`.
 */
export function onStopSignal(
  stop: (signal: string) => void,
  source: SignalSource = { process, monotonic: SYSTEM_TIME.monotonic, endAtOnce },
): void {
  let askedAt: number | null = null;
  for (const signal of STOP_SIGNALS) {
    source.process.on(signal, () => {
      const now = source.monotonic();
      if (askedAt !== null && now - askedAt >= ONE_REQUEST_MS) return source.endAtOnce();
      if (askedAt !== null) return;
      askedAt = now;
      stop(signal);
    });
  }
}

/** Calls `report` when something is thrown that nobody catches, and ends the process at once. */
export function onFault(report: (error: unknown) => void): void {
  process.on('uncaughtException', (error) => {
    report(error);
    endAtOnce();
  });
}

/**
 * Ends this process whatever hangs in it, and before a store is closed. `process.exit` would do neither: it
 * waits for threads that wait for a disk, and it unloads drivers. SQLite would then clear away its log
 * as at a clean stop, and the next start would miss it.
 */
export function endAtOnce(): void {
  process.kill(process.pid, 'SIGKILL');
  // Still here: the first process of a container is spared its own signals. What takes its place ends.
  process.execve?.(process.execPath, [process.execPath, '-e', 'process.exit(137)'], {});
}

/** Keeps the process alive until the returned function is called, whatever else has ended. */
export function holdProcess(): () => void {
  const timer = setInterval(() => {}, 1 << 30);
  return () => clearInterval(timer);
}

import { SYSTEM_TIME } from './clock.js';

/** What asks a service to stop: process managers and orchestrators, Ctrl-C, a terminal that closes. */
const STOP_SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;

/**
 * Signals this close together are one request: Ctrl-C goes to every process of a terminal, and npm,
 * which is one of them, hands its own on.
 */
const ONE_REQUEST_MS = 1_000;

export interface SignalSource {
  readonly process: Pick<NodeJS.Process, 'on' | 'exit'>;
  /** In ms; its zero does not matter. */
  readonly monotonic: () => number;
}

/**
 * Calls `stop` at the first signal that asks for it. A later one ends the process at once, as a
 * person at a terminal expects; durable state is safe at any moment.
 */
export function onStopSignal(
  stop: (signal: string) => void,
  source: SignalSource = { process, monotonic: SYSTEM_TIME.monotonic },
): void {
  let askedAt: number | null = null;
  for (const signal of STOP_SIGNALS) {
    source.process.on(signal, () => {
      const now = source.monotonic();
      if (askedAt !== null && now - askedAt >= ONE_REQUEST_MS) source.process.exit(1);
      if (askedAt !== null) return;
      askedAt = now;
      stop(signal);
    });
  }
}

/**
 * Calls `report` when something is thrown that nobody catches, and ends the process at once. Node's own
 * end would unload drivers first: SQLite would then clear away its log as at a clean stop, and the next
 * start would miss it.
 */
export function onFault(report: (error: unknown) => void): void {
  process.on('uncaughtException', (error) => {
    report(error);
    endAtOnce();
  });
}

/** Ends this process whatever hangs in it: `process.exit` waits for threads that wait for a disk. */
export function endAtOnce(): void {
  process.kill(process.pid, 'SIGKILL');
}

/** Keeps the process alive until the returned function is called, whatever else has ended. */
export function holdProcess(): () => void {
  const timer = setInterval(() => {}, 1 << 30);
  return () => clearInterval(timer);
}

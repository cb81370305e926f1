/** What asks a service to stop: process managers and orchestrators, Ctrl-C, a terminal that closes. */
const STOP_SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;

/**
 * Calls `stop` at the first signal that asks for it. A second one ends the process at once, as a
 * person at a terminal expects; durable state is safe at any moment.
 */
export function onStopSignal(stop: (signal: string) => void): void {
  let asked = false;
  for (const signal of STOP_SIGNALS) {
    process.on(signal, () => {
      if (asked) process.exit(1);
      asked = true;
      stop(signal);
    });
  }
}

/**
 * Calls `report` when something is thrown that nobody catches, and ends the process as SIGKILL does.
 * Node's own end would unload drivers first: SQLite would then clear away its log as at a clean stop,
 * and the next start would miss it.
 */
export function onFault(report: (error: unknown) => void): void {
  process.on('uncaughtException', (error) => {
    report(error);
    process.kill(process.pid, 'SIGKILL');
  });
}

/** Keeps the process alive until the returned function is called, whatever else has ended. */
export function holdProcess(): () => void {
  const timer = setInterval(() => {}, 1 << 30);
  return () => clearInterval(timer);
}

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

/** Keeps the process alive until the returned function is called, whatever else has ended. */
export function holdProcess(): () => void {
  const timer = setInterval(() => {}, 1 << 30);
  return () => clearInterval(timer);
}

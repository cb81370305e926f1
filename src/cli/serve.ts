import type { AddressInfo } from 'node:net';
import type { Config } from '../config/config.js';
import { AFTER_DRAIN_MS, DataPlane } from '../data-plane.js';
import { logEvents } from '../event-log.js';
import { SteadyClock } from '../platform/clock.js';
import { type Log, openLog } from '../platform/log.js';
import { endAtOnce, holdProcess, onFault, onStopSignal } from '../platform/signals.js';
import { SYSTEM_TIMERS } from '../platform/timers.js';
import { readVersion } from '../platform/version.js';
import type { ServiceReports } from '../service-reports.js';
import { StoreReports } from '../store-reports.js';
import { readArguments } from './arguments.js';
import { bannerOf } from './banner.js';
import type { Run } from './commands.js';
import { mustLoadFrom } from './configuration.js';
import { EXIT } from './exit-codes.js';
import type { Terminal } from './terminal.js';
import { stackOf } from '../platform/tidegate-error.js';

/** What hangs in a process that has failed to start, or has stopped, keeps it alive for so long. */
const END_MS = 2_000;
/** So much earlier than whoever asked for the stop may do it a stop that takes too long ends itself. */
export const AHEAD_MS = 1_000;

export const run: Run = async (args, terminal) => {
  readArguments(args, {});
  await serve(mustLoadFrom(terminal), terminal);
  return EXIT.ok;
};

/**
 * Serves until a signal asks it to stop; resolves after a clean stop. After another the process ends as
 * from outside: an exit code would say that all is well, or let Node unload what is not closed.
 */
async function serve(config: Config, terminal: Terminal): Promise<void> {
  const clock = new SteadyClock();
  const log = openLog({
    format: terminal.watched ? 'text' : 'json',
    write: terminal.err,
    now: () => clock.now(),
  });
  try {
    const plane = await DataPlane.open(config, { clock, log, report: logEvents(log) });
    onFault((error) => log.error('a fault of its own ends Tidegate', { error: stackOf(error) }));
    if (!(await servePlane(plane, terminal))) return endAtOnce();
    log.info('stopped');
  } finally {
    endAfter(END_MS, log);
  }
}

/**
 * From the opening of the ports to the end of the stop; resolves to whether that was clean. The data port
 * opens before Nest is loaded, for agents notice every second of a restart and operators don't.
 */
async function servePlane(plane: DataPlane, terminal: Terminal): Promise<boolean> {
  const { config, log } = plane;
  const stopAsked = new Promise<string>((resolve) => onStopSignal(resolve));
  const release = holdProcess();
  const store = new StoreReports(plane.repository, log, SYSTEM_TIMERS);
  let reports: ServiceReports | null = null;
  try {
    store.begin();
    reports = await openReports(plane, terminal, log);
    const addresses = await plane.listen();
    reports?.ready();
    const { loadControlPlane } = await import('../load-control-plane.js');
    const openControlPlane = await loadControlPlane(() => plane.proxy.inFlight > 0);
    const app = await openControlPlane(plane, log);
    const control = app.getHttpServer().address() as AddressInfo;
    terminal.out(bannerOf(config, readVersion(), addresses, control));
    const signal = await stopAsked;
    reports?.stopping();
    log.info('stopping', { signal, inFlight: plane.proxy.inFlight });
    endAfter(config.drainMs + AFTER_DRAIN_MS - AHEAD_MS, log);
    await app.close();
    return await plane.stop();
  } finally {
    await plane.stop();
    store.close();
    reports?.close();
    release();
  }
}

/** Whatever hangs: a stop ends, and before the service manager loses its patience. A process that ends by itself does so. */
function endAfter(ms: number, log: Log): void {
  SYSTEM_TIMERS.after(ms, () => {
    log.error(
      'something hangs, and the process ends without it: look at its disks, and at its database',
    );
    endAtOnce();
  });
}

/** Loaded only where a service manager listens. */
async function openReports(
  plane: DataPlane,
  { env }: Terminal,
  log: Log,
): Promise<ServiceReports | null> {
  if ((env['NOTIFY_SOCKET'] ?? '') === '') return null;
  const { serviceManagerOf } = await import('../platform/service-manager.js');
  const { ServiceReports } = await import('../service-reports.js');
  const manager = serviceManagerOf(env, log);
  return manager === null ? null : new ServiceReports(manager, plane, SYSTEM_TIMERS);
}

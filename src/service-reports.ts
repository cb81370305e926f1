import { AFTER_DRAIN_MS, type DataPlane } from './data-plane.js';
import type { ServiceManager } from './platform/service-manager.js';
import type { Cancel, Timers } from './platform/timers.js';
import { type Reported, standingOf } from './standing.js';

/** Longest time between two looks at what the status line says. */
const LOOK_MS = 10_000;
/** Pings in one watchdog period: two may get lost. */
const PINGS_A_PERIOD = 3;
/** Scopes that the status line names; the others are counted. */
const NAMED_SCOPES = 3;

/**
 * Keeps the service manager informed: ready, alive, how things stand, stopping. The beat comes from a
 * timer of the main loop, on purpose: a loop that is blocked can't ping, and gets killed for it.
 */
export class ServiceReports {
  #status = '';
  #looking = false;
  #cancelBeat: Cancel = () => {};
  #stopping = false;

  constructor(
    private readonly manager: ServiceManager,
    private readonly plane: Reported & Pick<DataPlane, 'proxy'>,
    private readonly timers: Timers,
  ) {}

  /** The data ports are open: agents are served from here on, whatever Nest still loads. */
  ready(): void {
    this.manager.tell({ READY: '1', STATUS: 'ready' });
    this.#beat();
  }

  /** The drain may take longer than the unit's stop timeout: asks for the time that was configured. */
  stopping(): void {
    this.#stopping = true;
    const { drainMs } = this.plane.config;
    const { inFlight } = this.plane.proxy;
    this.manager.tell({
      STOPPING: '1',
      EXTEND_TIMEOUT_USEC: String((drainMs + AFTER_DRAIN_MS) * 1_000),
      STATUS: `stopping: ${inFlight} in flight may go on for ${Math.ceil(drainMs / 1_000)} s`,
    });
  }

  close(): void {
    this.#cancelBeat();
  }

  #beat(): void {
    const { watchdogMs } = this.manager;
    if (watchdogMs !== null) this.manager.tell({ WATCHDOG: '1' });
    void this.#look();
    const everyMs = Math.min(LOOK_MS, (watchdogMs ?? Infinity) / PINGS_A_PERIOD);
    this.#cancelBeat = this.timers.after(everyMs, () => this.#beat());
  }

  /** One look at a time: a store that does not answer must not gather them. */
  async #look(): Promise<void> {
    if (this.#looking || this.#stopping) return;
    this.#looking = true;
    const status = await statusLineOf(this.plane);
    this.#looking = false;
    if (status === this.#status || this.#stopping) return;
    this.#status = status;
    this.manager.tell({ STATUS: status });
  }
}

/** One line for whoever reads `systemctl status` at night: who is blocked, why, until when. */
export async function statusLineOf(plane: Reported): Promise<string> {
  const { notes, scopes } = await standingOf(plane);
  const named = scopes.slice(0, NAMED_SCOPES).map(({ line }) => line);
  const others = scopes.slice(NAMED_SCOPES);
  if (others.length > 0) {
    const notOpen = others.filter(({ open }) => !open).length;
    named.push(`${others.length} more, ${notOpen} of them not open`);
  }
  return [...notes, ...named].join('; ');
}

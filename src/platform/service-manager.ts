import { execFile } from 'node:child_process';
import type { Log } from './log.js';
import { reasonOf } from './tidegate-error.js';

/** The helper that systemd brings along: Node.js itself can't send to the manager's socket. */
const HELPER = 'systemd-notify';
/** It returns when the manager has read the message, by itself after 5 s at the latest. */
const HELPER_MS = 10_000;

/** Assignments of sd_notify(3), such as `READY: '1'`. Values are single lines. */
export type Notice = Readonly<Record<string, string>>;

/** Hands assignments to the service manager; rejects if it did not take them. */
export type Deliver = (assignments: readonly string[]) => Promise<void>;

export interface ServiceManagerOptions {
  readonly deliver: Deliver;
  /** How long the manager bears silence before it kills the process; null: as long as it lasts. */
  readonly watchdogMs: number | null;
  readonly log: Log;
}

/** What supervises this process and wants to hear from it. */
export class ServiceManager {
  readonly watchdogMs: number | null;
  readonly #deliver: Deliver;
  readonly #log: Log;
  /** Told and not delivered yet; the newest value of each name. */
  readonly #waiting = new Map<string, string>();
  #delivery: Promise<void> | null = null;
  #failing = false;

  constructor(options: ServiceManagerOptions) {
    this.#deliver = options.deliver;
    this.watchdogMs = options.watchdogMs;
    this.#log = options.log;
  }

  /**
   * Returns at once. One message is on its way at a time; what is told meanwhile goes out together
   * after it, and what the manager did not take goes out again with the next notice.
   */
  tell(notice: Notice): void {
    for (const [name, value] of Object.entries(notice)) this.#waiting.set(name, value);
    this.#delivery ??= this.#deliverAll().finally(() => (this.#delivery = null));
  }

  /** Resolves when nothing is on its way any more. */
  async idle(): Promise<void> {
    await this.#delivery;
  }

  async #deliverAll(): Promise<void> {
    while (this.#waiting.size > 0) {
      const notice = [...this.#waiting];
      this.#waiting.clear();
      try {
        await this.#deliver(notice.map(([name, value]) => `${name}=${value}`));
        this.#failing = false;
      } catch (error) {
        for (const [name, value] of notice) {
          if (!this.#waiting.has(name)) this.#waiting.set(name, value);
        }
        this.#complain(error);
        return;
      }
    }
  }

  /** Once, not at every notice: it may fail for hours. */
  #complain(error: unknown): void {
    if (!this.#failing) {
      this.#log.error(`the service manager could not be told how the service fares by ${HELPER}`, {
        problem: reasonOf(error).trim(),
      });
    }
    this.#failing = true;
  }
}

/** The service manager that the environment names, as sd_notify(3) says; null if there is none. */
export function serviceManagerOf(
  env: Readonly<Record<string, string | undefined>>,
  log: Log,
): ServiceManager | null {
  const { NOTIFY_SOCKET: socket = '', PATH: path = '' } = env;
  if (socket === '') return null;
  return new ServiceManager({
    // Nothing else of the environment: credentials are none of the helper's business.
    deliver: runHelper({ PATH: path, NOTIFY_SOCKET: socket }),
    watchdogMs: watchdogOf(env, process.pid),
    log,
  });
}

/** In ms; null unless a watchdog is set and meant for this process. */
export function watchdogOf(
  env: Readonly<Record<string, string | undefined>>,
  pid: number,
): number | null {
  const { WATCHDOG_USEC: period, WATCHDOG_PID: meant } = env;
  if (period === undefined || !/^[1-9]\d{0,15}$/.test(period)) return null;
  if (meant !== undefined && meant !== '' && meant !== String(pid)) return null;
  return Number(period) / 1_000;
}

function runHelper(env: Readonly<Record<string, string>>): Deliver {
  return (assignments) =>
    new Promise((resolve, reject) => {
      const options = { env, timeout: HELPER_MS, killSignal: 'SIGKILL' } as const;
      execFile(HELPER, assignments, options, (error) =>
        error === null ? resolve() : reject(error),
      );
    });
}

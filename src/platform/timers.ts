/** Cancels what it was returned for; calling it again, or late, does nothing. */
export type Cancel = () => void;

/** The only source of timers, so that tests and the simulator can run on virtual time. */
export interface Timers {
  /** Calls once, `delayMs` from now. A waiting timer does not keep the process alive. */
  after(delayMs: number, call: () => void): Cancel;
}

export const SYSTEM_TIMERS: Timers = {
  after(delayMs, call) {
    const timer = setTimeout(call, delayMs);
    timer.unref();
    return () => clearTimeout(timer);
  },
};

/** Resolves to the promise's value, or to `late` once `deadlineMs` have passed. Rejections pass through. */
export function withDeadline<Value, Late>(
  timers: Timers,
  deadlineMs: number,
  promise: Promise<Value>,
  late: Late,
): Promise<Value | Late> {
  return new Promise((resolve, reject) => {
    const cancel = timers.after(deadlineMs, () => resolve(late));
    promise.then(
      (value) => {
        cancel();
        resolve(value);
      },
      (error: unknown) => {
        cancel();
        reject(error);
      },
    );
  });
}

/** Deadlines of one length, for many waits that begin together: those of one turn share a timer. */
export class SharedDeadline {
  #latest: Group | null = null;

  constructor(
    private readonly timers: Timers,
    private readonly deadlineMs: number,
  ) {}

  /** Calls once the time has passed, unless it is cancelled. */
  set(late: () => void): Cancel {
    const group = (this.#latest ??= this.#begin());
    group.calls.add(late);
    return () => {
      group.calls.delete(late);
      if (group.calls.size === 0 && group !== this.#latest) group.cancel();
    };
  }

  #begin(): Group {
    const calls = new Set<() => void>();
    const cancel = this.timers.after(this.deadlineMs, () => calls.forEach((call) => call()));
    queueMicrotask(() => {
      this.#latest = null;
      if (calls.size === 0) cancel();
    });
    return { calls, cancel };
  }
}

interface Group {
  readonly calls: Set<() => void>;
  readonly cancel: Cancel;
}

export function sleep(timers: Timers, delayMs: number): Promise<void> {
  return new Promise((resolve) => void timers.after(delayMs, resolve));
}

/** The same for a command, which has nothing else that would keep its process alive meanwhile. */
export function sleepAwake(delayMs: number): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, delayMs));
}

/** Calls again and again, for schedulers that keep the handle. */
export function every(periodMs: number, call: () => void): NodeJS.Timeout {
  return setInterval(call, periodMs);
}

let afterThisTurn: (() => void)[] = [];

/** Calls once the event loop has dealt with everything that has arrived by now; all in one go. */
export function afterTurn(call: () => void): void {
  if (afterThisTurn.length === 0) setImmediate(callAll);
  afterThisTurn.push(call);
}

function callAll(): void {
  const calls = afterThisTurn;
  afterThisTurn = [];
  for (const call of calls) call();
}

/** Resolves after this turn, as `afterTurn` calls, and after whoever that called has gone on. */
export function turnEnds(): Promise<void> {
  return new Promise<void>(afterTurn).then(() => {});
}

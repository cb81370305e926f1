import {
  BackoffPolicy,
  type Gate,
  type RefusalVerdict,
  type Ticket,
} from '../../src/backoff/backoff-policy.js';
import { emptyScopeState, type BackoffState } from '../../src/state/scope-state.js';

export const SECOND = 1_000;
export const HOUR = 3_600_000;

export const POLICY = new BackoffPolicy({
  ladderMs: [30, 60, 120, 240, 300].map((seconds) => seconds * SECOND),
  probeEveryMs: HOUR,
});

/** A request on its way: what its admission took along. */
export interface Flight {
  readonly ticket: Ticket;
  readonly sequence: number;
}

/** One scope's backoff taken through a sequence of events. */
export class Track {
  backoff: BackoffState = emptyScopeState().hot.backoff;
  #sequence = 0;

  constructor(readonly policy = POLICY) {}

  gate(now: number): Gate {
    return this.policy.gate(this.backoff, now);
  }

  /** Admits a request as the governor does; throws if the gate is closed. */
  admit(now: number, instance = 'a'): Flight {
    const gate = this.gate(now);
    if (gate.kind === 'closed') throw new Error(`closed at ${now}: ${gate.decision}`);
    this.#sequence += 1;
    const role = gate.kind === 'open' ? 'ordinary' : gate.kind;
    const ticket = this.policy.ticket(this.backoff, role);
    if (role === 'probe') {
      this.backoff = this.policy.takeProbe(this.backoff, this.#sequence, instance, now);
    }
    if (role === 'routine') this.backoff = this.policy.noteRoutineProbe(this.backoff, now);
    return { ticket, sequence: this.#sequence };
  }

  refuse(flight: Flight, now: number, refusal: Partial<RefusalVerdict> = {}) {
    const told = { kind: 'quota', statedWaitMs: null, limit: null, blamed: null, jitter: 0 };
    const verdict = { ...told, ...refusal };
    const { backoff, outcome } = this.policy.refused(
      this.backoff,
      flight.ticket,
      flight.sequence,
      verdict as RefusalVerdict,
      now,
    );
    this.backoff = backoff;
    return outcome;
  }

  succeed(flight: Flight): boolean {
    const { backoff, outcome } = this.policy.succeeded(
      this.backoff,
      flight.ticket,
      flight.sequence,
    );
    this.backoff = backoff;
    return outcome;
  }

  overload(flight: Flight, now: number, statedWaitMs: number | null = null): boolean {
    const { backoff, outcome } = this.policy.overloaded(
      this.backoff,
      flight.ticket,
      flight.sequence,
      { statedWaitMs, inAnswer: false },
      now,
    );
    this.backoff = backoff;
    return outcome;
  }

  /** The same, in the answer of a request that succeeded. */
  overloadInAnswer(flight: Flight, now: number): boolean {
    const told = { statedWaitMs: null, inAnswer: true };
    const { ticket, sequence } = flight;
    const { backoff, outcome } = this.policy.overloaded(this.backoff, ticket, sequence, told, now);
    this.backoff = backoff;
    return outcome;
  }

  /** Its answer came to its end. */
  finish({ sequence }: Flight, now: number): void {
    this.backoff = this.policy.finished(this.policy.abandoned(this.backoff, sequence), now);
  }

  /** Milliseconds from `now` until the cooldown ends. */
  waitAt(now: number): number {
    return (this.backoff.cooldown?.until ?? now) - now;
  }
}

import {
  type BackoffState,
  type Cooldown,
  type CooldownKind,
  type EpisodeState,
  type Instant,
  type Probe,
  shifted,
} from '../state/scope-state.js';
import { cooldownMs, overloadMs, terminalMs } from './ladder.js';
import type { BackoffSettings } from './settings.js';

/**
 * An episode runs from the first 429 to the next success and consists of cooldowns:
 *
 *   open ── 429 ──► cooldown (rung 1) ── time ──► half-open ── the probe's success ──► open
 *                       ▲                              │
 *                       └──── the probe's 429: rung + 1 ┘
 *
 * Only the probe's 429 climbs. Every admission carries a ticket with the episode and rung it was made
 * under, and a verdict on any other changes nothing: ten concurrent 429s are one rung, and a success
 * that started before the refusal ends nothing.
 *
 * A scope has one such ladder, and each model pool that was refused apart from it has another.
 */

/** What an admission remembers of the moment it was made; its verdict is weighed against it. */
export interface EpisodeTicket {
  readonly episode: number;
  /** Rung at admission; 0 when the ladder was open. */
  readonly rung: number;
  /**
   * - `probe`: decides the episode.
   * - `routine`: looks early whether a long cooldown or learned exhaustion still holds; never climbs.
   * - `bystander`: let through by observe mode; decides nothing.
   */
  readonly role: Role;
}

export type Role = 'ordinary' | 'probe' | 'routine' | 'bystander';

/** For the scope's own ladder. */
export interface Ticket extends EpisodeTicket {
  /** Number of the overload pause at admission. */
  readonly overload: number;
}

export type Gate =
  | { readonly kind: 'open' }
  | { readonly kind: 'probe' }
  /** The cooldown holds, but is long enough to be probed all the same. */
  | { readonly kind: 'routine' }
  | {
      readonly kind: 'closed';
      readonly decision: 'cooldown' | 'probing' | 'terminal' | 'overload';
      readonly until: Instant;
    };

export interface RefusalVerdict {
  readonly kind: CooldownKind;
  readonly statedWaitMs: number | null;
  /** See Cooldown. */
  readonly limit: string | null;
  readonly blamed: string | null;
  /** In [0, 1). */
  readonly jitter: number;
}

/** What a sign of overload says. */
export interface Overload {
  readonly statedWaitMs: number | null;
  /** It came after the answer had begun as a success. */
  readonly inAnswer: boolean;
}

export interface Verdict<State, Outcome> {
  /** The same reference if nothing changed. */
  readonly backoff: State;
  readonly outcome: Outcome;
}

/** `ignored`: of another episode; `noted`: changes no cooldown yet. */
export type RefusalOutcome = 'ignored' | 'noted' | 'began' | 'climbed';

/** A probe unanswered for this long does not stop another from being handed out. */
const PROBE_DEADLINE_MS = 10_000;
/** A probe is forgotten after this: longer than any upstream takes for its headers. */
const PROBE_LOST_MS = 3_600_000;
const MOST_PROBES = 3;
/** What the others wait while a probe is out. */
const PROBING_WAIT_MS = 1_000;
/** A second transient refusal within this makes a cooldown. */
const TRANSIENT_PAIR_MS = 10_000;

/** Cooldowns, rungs and probes of a scope and its model pools, and the scope's overload pauses. Pure. */
export class BackoffPolicy {
  constructor(readonly settings: BackoffSettings) {}

  /** May a metered request pass now? Takes nothing: `takeProbe` does, once the budget agreed too. */
  gate(backoff: BackoffState, now: Instant): Gate {
    const { cooldown, overload } = backoff;
    const holds = cooldown !== null && now < cooldown.until;
    if (!holds && now < overload.until) {
      return { kind: 'closed', decision: 'overload', until: overload.until };
    }
    return this.poolGate(backoff, now);
  }

  /** The same for a model pool. */
  poolGate(pool: EpisodeState, now: Instant): Gate {
    const { cooldown } = pool;
    if (cooldown === null) return { kind: 'open' };
    const terminal = cooldown.kind === 'terminal';
    if (now < cooldown.until) {
      if (this.#routineProbeIsDue(cooldown, now)) return { kind: 'routine' };
      const decision = terminal ? 'terminal' : 'cooldown';
      return { kind: 'closed', decision, until: cooldown.until };
    }
    if (mayHandOut(liveProbes(pool, now), now)) return { kind: 'probe' };
    const decision = terminal ? 'terminal' : 'probing';
    return { kind: 'closed', decision, until: now + PROBING_WAIT_MS };
  }

  ticket(backoff: BackoffState, role: Role): Ticket {
    return { ...this.poolTicket(backoff, role), overload: backoff.overload.number };
  }

  poolTicket({ episode, cooldown }: EpisodeState, role: Role): EpisodeTicket {
    return { episode, rung: cooldown?.rung ?? 0, role };
  }

  /** Hands the probe to the admission numbered `sequence`. Call only when the gate says `probe`. */
  takeProbe<State extends EpisodeState>(
    backoff: State,
    sequence: number,
    instance: string,
    now: Instant,
  ): State {
    const probe: Probe = { sequence, instance, takenAt: now, expiresAt: now + PROBE_LOST_MS };
    return { ...backoff, probes: [...liveProbes(backoff, now), probe] };
  }

  /** A routine probe of the cooldown goes out now. */
  noteRoutineProbe<State extends EpisodeState>(backoff: State, now: Instant): State {
    if (backoff.cooldown === null) return backoff;
    return { ...backoff, cooldown: { ...backoff.cooldown, probedAt: now } };
  }

  /** The upstream answered 2xx. The outcome tells whether that ended the episode. */
  succeeded(
    backoff: BackoffState,
    ticket: Ticket,
    sequence: number,
  ): Verdict<BackoffState, boolean> {
    const verdict = this.poolSucceeded(backoff, ticket, sequence);
    const { overload } = backoff;
    if (overload.rung === 0 || overload.inAnswer) return verdict;
    if (ticket.overload !== overload.number) return verdict;
    const resumed = { ...overload, rung: 0, until: overload.since };
    return { ...verdict, backoff: { ...verdict.backoff, overload: resumed } };
  }

  /** The same for a ladder alone. */
  poolSucceeded<State extends EpisodeState>(
    pool: State,
    ticket: EpisodeTicket,
    sequence: number,
  ): Verdict<State, boolean> {
    const decisive = decides(ticket, pool) && ticket.role !== 'ordinary';
    // A routine probe of exhaustion by a budget finds no episode to end.
    const ends = decisive && pool.cooldown !== null;
    const next = ends ? { ...pool, cooldown: null, probes: [] } : dropProbe(pool, sequence);
    return { backoff: next, outcome: ends };
  }

  /**
   * The ticket of a request that the upstream accepted and refuses in its answer. Where its success has ended the
   * episode, the refusal is about the openness that came of it.
   */
  opened<T extends EpisodeTicket>(ticket: T, { episode, cooldown }: EpisodeState): T {
    const { role, rung } = ticket;
    const ended = rung > 0 && cooldown === null && ticket.episode === episode;
    return ended && role !== 'bystander' ? { ...ticket, rung: 0, role: 'ordinary' } : ticket;
  }

  /** The upstream answered 429. */
  refused(
    backoff: BackoffState,
    ticket: Ticket,
    sequence: number,
    refusal: RefusalVerdict,
    now: Instant,
  ): Verdict<BackoffState, RefusalOutcome> {
    const { transientAt } = backoff;
    const second = transientAt !== null && now - transientAt <= TRANSIENT_PAIR_MS;
    if (refusal.kind === 'transient' && !second && climbs(ticket, backoff)) {
      const seen = dropProbe(backoff, sequence);
      return { backoff: { ...seen, transientAt: now }, outcome: 'noted' };
    }
    const verdict = this.poolRefused(backoff, ticket, sequence, refusal, now);
    if (verdict.outcome !== 'began' && verdict.outcome !== 'climbed') return verdict;
    return { ...verdict, backoff: { ...verdict.backoff, transientAt: null } };
  }

  /** The same for a ladder alone: what it is told of is no hiccup. */
  poolRefused<State extends EpisodeState>(
    backoff: State,
    ticket: EpisodeTicket,
    sequence: number,
    refusal: RefusalVerdict,
    now: Instant,
  ): Verdict<State, RefusalOutcome> {
    const seen = dropProbe(backoff, sequence);
    if (!decides(ticket, backoff)) return { backoff: seen, outcome: 'ignored' };
    if (ticket.role === 'routine') {
      return { backoff: this.#takeStatement(seen, refusal, now), outcome: 'noted' };
    }
    const began = backoff.cooldown === null;
    const rung = (backoff.cooldown?.rung ?? 0) + 1;
    const wait =
      refusal.kind === 'terminal'
        ? terminalMs(this.settings)
        : cooldownMs(this.settings, rung, refusal.statedWaitMs, refusal.jitter);
    const cooldown: Cooldown = {
      since: now,
      until: now + wait,
      kind: refusal.kind,
      rung,
      limit: refusal.limit,
      blamed: refusal.blamed,
      probedAt: null,
    };
    const episode = began ? backoff.episode + 1 : backoff.episode;
    return {
      backoff: { ...seen, episode, cooldown, probes: [] },
      outcome: began ? 'began' : 'climbed',
    };
  }

  /**
   * An answer came to its end, whenever it was asked for: where others broke off for overload, that is what was in
   * doubt. During the pause it says nothing, for it was under way already.
   */
  finished(backoff: BackoffState, now: Instant): BackoffState {
    const { overload } = backoff;
    if (!overload.inAnswer || overload.rung === 0 || now < overload.until) return backoff;
    return { ...backoff, overload: { ...overload, rung: 0 } };
  }

  /** The upstream is out of capacity for everyone. The outcome tells whether a pause began. */
  overloaded(
    backoff: BackoffState,
    ticket: Ticket,
    sequence: number,
    { statedWaitMs, inAnswer }: Overload,
    now: Instant,
  ): Verdict<BackoffState, boolean> {
    const seen = dropProbe(backoff, sequence);
    const { overload } = backoff;
    if (ticket.overload !== overload.number) return { backoff: seen, outcome: false };
    const rung = overload.rung + 1;
    const until = now + overloadMs(rung, statedWaitMs);
    const { number } = overload;
    const paused = { ...overload, number: number + 1, rung, since: now, until, inAnswer };
    return { backoff: { ...seen, overload: paused }, outcome: true };
  }

  /** The request ended without a verdict: the client went away, or the answer says nothing. */
  abandoned<State extends EpisodeState>(backoff: State, sequence: number): State {
    return dropProbe(backoff, sequence);
  }

  /**
   * The instance died or fell silent: its probes are lost. They keep the place until their deadline,
   * for no crash may let more probes out than no crash would have.
   */
  loseProbes<State extends EpisodeState>(backoff: State, instance: string): State {
    if (!backoff.probes.some((probe) => probe.instance === instance)) return backoff;
    const probes = backoff.probes.map((probe) =>
      probe.instance === instance
        ? { ...probe, expiresAt: probe.takenAt + PROBE_DEADLINE_MS }
        : probe,
    );
    return { ...backoff, probes };
  }

  /** The operator ends the episode and the pause. */
  clear(backoff: BackoffState, now: Instant): BackoffState {
    const overload = { ...backoff.overload, rung: 0, until: Math.min(backoff.overload.until, now) };
    return { ...this.clearPool(backoff), transientAt: null, overload };
  }

  clearPool<State extends EpisodeState>(pool: State): State {
    return { ...pool, cooldown: null, probes: [] };
  }

  /** Moves every instant by `shiftMs`, with a clock that jumped. */
  shift(backoff: BackoffState, shiftMs: number): BackoffState {
    const { transientAt, overload } = backoff;
    return {
      ...this.shiftPool(backoff, shiftMs),
      transientAt: transientAt === null ? null : shifted(transientAt, shiftMs),
      // 0 stands for a pause that never was.
      overload:
        overload.until === 0
          ? overload
          : {
              ...overload,
              since: shifted(overload.since, shiftMs),
              until: shifted(overload.until, shiftMs),
            },
    };
  }

  shiftPool<State extends EpisodeState>(pool: State, shiftMs: number): State {
    const { cooldown, probes } = pool;
    return {
      ...pool,
      cooldown: cooldown && {
        ...cooldown,
        since: shifted(cooldown.since, shiftMs),
        until: shifted(cooldown.until, shiftMs),
        probedAt: cooldown.probedAt === null ? null : shifted(cooldown.probedAt, shiftMs),
      },
      probes: probes.map((probe) => ({
        ...probe,
        takenAt: shifted(probe.takenAt, shiftMs),
        expiresAt: shifted(probe.expiresAt, shiftMs),
      })),
    };
  }

  #routineProbeIsDue(cooldown: Cooldown, now: Instant): boolean {
    const { probeEveryMs } = this.settings;
    if (probeEveryMs <= 0 || cooldown.until - cooldown.since <= probeEveryMs) return false;
    return now - (cooldown.probedAt ?? cooldown.since) >= probeEveryMs;
  }

  /** What a routine probe's refusal states about the end is newer than what we know; it never climbs. */
  #takeStatement<State extends EpisodeState>(
    backoff: State,
    refusal: RefusalVerdict,
    now: Instant,
  ): State {
    const { cooldown } = backoff;
    if (cooldown === null || refusal.statedWaitMs === null) return backoff;
    const wait = cooldownMs(this.settings, 1, refusal.statedWaitMs, refusal.jitter);
    return { ...backoff, cooldown: { ...cooldown, until: now + wait } };
  }
}

/** Whether a verdict on this ticket is about the present cooldown, or the present openness. */
function decides(ticket: EpisodeTicket, backoff: EpisodeState): boolean {
  return (
    ticket.role !== 'bystander' &&
    ticket.episode === backoff.episode &&
    ticket.rung === (backoff.cooldown?.rung ?? 0)
  );
}

/** Whether a refusal of it may begin an episode or climb. */
function climbs(ticket: EpisodeTicket, backoff: EpisodeState): boolean {
  return decides(ticket, backoff) && ticket.role !== 'routine';
}

function liveProbes(backoff: EpisodeState, now: Instant): readonly Probe[] {
  return backoff.probes.filter((probe) => probe.expiresAt > now);
}

function mayHandOut(probes: readonly Probe[], now: Instant): boolean {
  const newest = probes.at(-1);
  if (newest === undefined) return true;
  return probes.length < MOST_PROBES && now - newest.takenAt >= PROBE_DEADLINE_MS;
}

function dropProbe<State extends EpisodeState>(backoff: State, sequence: number): State {
  if (!backoff.probes.some((probe) => probe.sequence === sequence)) return backoff;
  return { ...backoff, probes: backoff.probes.filter((probe) => probe.sequence !== sequence) };
}

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BackoffPolicy } from '../../src/backoff/backoff-policy.js';
import { HOUR, SECOND, Track, type Flight } from './support.js';

/**
 * All sequences of up to six events on a ladder of two rungs, against a model that keeps every request in a
 * list and looks through all of them each time.
 */

const LADDER = [10 * SECOND, 20 * SECOND];
const PASS_MS = 11 * SECOND;
const PROBE_DEADLINE_MS = 10 * SECOND;
const MOST_PROBES = 3;
const LONGEST = 6;
const POLICY = new BackoffPolicy({ ladderMs: LADDER, probeEveryMs: HOUR });

const EVENTS = ['ask', 'refuse', 'succeed', 'leave', 'crash', 'pass'];

interface Asked {
  readonly at: number;
  /** Episode and rung that its verdict is about. */
  readonly about: string;
  readonly probe: boolean;
  state: 'flying' | 'over' | 'lost';
}

class Model {
  readonly asked: Asked[] = [];
  episode = 0;
  rung = 0;
  until = 0;

  get about(): string {
    return `${this.episode} ${this.rung}`;
  }

  /** What a request would meet. */
  gate(now: number): 'open' | 'probe' | 'closed' {
    if (this.rung === 0) return 'open';
    if (now < this.until) return 'closed';
    const out = this.asked.filter(
      ({ probe, about, at, state }) =>
        probe &&
        about === this.about &&
        (state === 'flying' || (state === 'lost' && now - at < PROBE_DEADLINE_MS)),
    );
    const busy = out.some(({ at }) => now - at < PROBE_DEADLINE_MS);
    return busy || out.length >= MOST_PROBES ? 'closed' : 'probe';
  }

  ask(now: number): boolean {
    const gate = this.gate(now);
    if (gate === 'closed') return false;
    this.asked.push({ at: now, about: this.about, probe: gate === 'probe', state: 'flying' });
    return true;
  }

  /** The oldest request that still flies. */
  first(): Asked | undefined {
    return this.asked.find(({ state }) => state === 'flying');
  }

  refuse(asked: Asked, now: number): void {
    asked.state = 'over';
    if (asked.about !== this.about) return;
    if (this.rung === 0) this.episode += 1;
    this.rung += 1;
    this.until = now + (LADDER[Math.min(this.rung, LADDER.length) - 1] ?? 0);
  }

  succeed(asked: Asked): void {
    asked.state = 'over';
    if (asked.probe && asked.about === this.about) this.rung = 0;
  }
}

function play(events: readonly string[]): void {
  const track = new Track(POLICY);
  const model = new Model();
  const flights: { flight: Flight; asked: Asked }[] = [];
  let now = 0;
  // Not by expect: it is too slow for so many checks.
  const hold = (held: boolean, claim: string, event: string) => {
    if (!held) throw new Error(`not ${claim} after "${event}" of ${events.join(', ')}`);
  };
  for (const event of events) {
    now += event === 'pass' ? PASS_MS : 1;
    const gate = track.gate(now);
    hold(gate.kind === model.gate(now), 'the same gate', event);
    if (gate.kind === 'closed') hold(gate.until > now, 'a wait that is to come', event);
    if (event === 'ask') {
      if (!model.ask(now)) continue;
      flights.push({ flight: track.admit(now), asked: model.asked.at(-1) as Asked });
      continue;
    }
    if (event === 'crash') {
      track.backoff = track.policy.loseProbes(track.backoff, 'a');
      for (const { asked } of flights.splice(0)) asked.state = 'lost';
    }
    const [first] = event === 'pass' || event === 'crash' ? [] : flights.splice(0, 1);
    if (first === undefined) continue;
    if (event === 'refuse') {
      track.refuse(first.flight, now);
      model.refuse(first.asked, now);
    } else if (event === 'succeed') {
      track.succeed(first.flight);
      model.succeed(first.asked);
    } else {
      track.backoff = track.policy.abandoned(track.backoff, first.flight.sequence);
      first.asked.state = 'over';
    }
    hold((track.backoff.cooldown?.rung ?? 0) === model.rung, 'the same rung', event);
    hold(track.backoff.episode === model.episode, 'the same episode', event);
  }
}

function* sequences(length: number): Generator<readonly string[]> {
  if (length === 0) return yield [];
  for (const before of sequences(length - 1)) for (const event of EVENTS) yield [...before, event];
}

it.each([
  ['an episode', ['ask']],
  ['an episode that is half open', ['ask', 'refuse', 'pass']],
])(`%s goes as a list of all its requests says, after any ${LONGEST} events`, (_name, before) => {
  // Every shorter sequence is the beginning of one of these.
  for (const events of sequences(LONGEST)) play([...before, ...events]);
});

describe('whatever happens', () => {
  const step = fc.oneof(
    fc.record({ passMs: fc.integer({ min: 0, max: 400 * SECOND }) }),
    fc.record({ stated: fc.option(fc.double({ min: 0, max: 1e300, noNaN: true })) }),
    fc.constantFrom('succeed' as const, 'ask' as const, 'overload' as const),
  );

  it('a wait is never shortened within an episode, and every instant is a number', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
        const track = new Track();
        const flights: Flight[] = [];
        let now = 0;
        for (const what of steps) {
          const before = track.backoff;
          if (typeof what === 'object' && 'passMs' in what) now += what.passMs;
          else if (what === 'ask') {
            if (track.gate(now).kind !== 'closed') flights.push(track.admit(now));
          } else {
            const flight = flights.shift();
            if (flight === undefined) continue;
            if (what === 'succeed') track.succeed(flight);
            else if (what === 'overload') track.overload(flight, now, 1e9);
            else track.refuse(flight, now, { statedWaitMs: what.stated });
            // A routine probe's newer statement is the one exception.
            const routine = flight.ticket.role === 'routine';
            const { cooldown } = track.backoff;
            if (cooldown !== null && before.cooldown !== null && !routine) {
              expect(cooldown.until).toBeGreaterThanOrEqual(before.cooldown.until);
            }
          }

          expect(numbersOf(track.backoff).every(Number.isFinite)).toBe(true);
        }
      }),
    );
  });
});

/** Every number in a document. */
function numbersOf(value: unknown): number[] {
  if (typeof value === 'number') return [value];
  if (typeof value !== 'object' || value === null) return [];
  return Object.values(value).flatMap(numbersOf);
}

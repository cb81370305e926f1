import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HOUR, POLICY, SECOND, Track } from './support.js';

describe('an episode', () => {
  it('climbs the ladder with every refused probe and ends with a success', () => {
    const track = new Track();
    const waits: number[] = [];
    let now = 0;
    track.refuse(track.admit(now), now);
    for (let climb = 0; climb < 7; climb += 1) {
      waits.push(track.waitAt(now) / SECOND);
      now += track.waitAt(now);
      expect(track.refuse(track.admit(now), now)).toBe('climbed');
    }
    expect(waits).toEqual([30, 60, 120, 240, 300, 300, 300]);
    now += track.waitAt(now);
    expect(track.succeed(track.admit(now))).toBe(true);
    expect(track.backoff).toMatchObject({ cooldown: null, probes: [], episode: 1 });
    expect(track.gate(now)).toEqual({ kind: 'open' });
  });

  it('starts at the first rung again next time', () => {
    const track = new Track();
    track.refuse(track.admit(0), 0);
    track.refuse(track.admit(30 * SECOND), 30 * SECOND);
    track.succeed(track.admit(90 * SECOND));
    track.refuse(track.admit(100 * SECOND), 100 * SECOND);
    expect(track.backoff.cooldown).toMatchObject({ rung: 1, until: 130 * SECOND });
    expect(track.backoff.episode).toBe(2);
  });

  it('takes ten refusals of requests in flight together for one rung', () => {
    const track = new Track();
    const flights = Array.from({ length: 10 }, () => track.admit(0));
    const outcomes = flights.map((flight, index) => track.refuse(flight, index));
    expect(outcomes).toEqual(['began', ...Array.from({ length: 9 }, () => 'ignored')]);
    expect(track.backoff.cooldown).toMatchObject({ rung: 1, since: 0, until: 30 * SECOND });
  });

  it('is not ended by a success that was admitted before the refusal', () => {
    const track = new Track();
    const early = track.admit(0);
    track.refuse(track.admit(0), 1);
    expect(track.succeed(early)).toBe(false);
    expect(track.backoff.cooldown).not.toBeNull();
  });

  it('is not begun by a refusal that was admitted before the last one ended', () => {
    const track = new Track();
    const early = track.admit(0);
    track.refuse(track.admit(0), 1);
    track.succeed(track.admit(31 * SECOND));
    expect(track.refuse(early, 32 * SECOND)).toBe('ignored');
    expect(track.gate(32 * SECOND)).toEqual({ kind: 'open' });
  });

  it('keeps everybody out until its cooldown ends', () => {
    const track = new Track();
    track.refuse(track.admit(0), 0, { statedWaitMs: 90 * SECOND });
    const closed = { kind: 'closed', decision: 'cooldown', until: 90 * SECOND };
    expect(track.gate(0)).toEqual(closed);
    expect(track.gate(90 * SECOND - 1)).toEqual(closed);
    expect(track.gate(90 * SECOND)).toEqual({ kind: 'probe' });
  });

  it('is ended by the operator', () => {
    const track = new Track();
    track.refuse(track.admit(0), 0);
    track.backoff = POLICY.clear(track.backoff, 5);
    expect(track.gate(5)).toEqual({ kind: 'open' });
  });
});

describe('the length of a cooldown', () => {
  const first = (statedWaitMs: number | null, jitter = 0) => {
    const track = new Track();
    track.refuse(track.admit(0), 0, { statedWaitMs, jitter });
    return track.waitAt(0);
  };

  it('is first what the upstream states, even below the ladder, and never less', () => {
    expect(first(7 * SECOND)).toBe(7 * SECOND);
    expect(first(10_000 * SECOND)).toBe(10_000 * SECOND);
    expect(first(7 * SECOND, 0.999)).toBeLessThanOrEqual(7.7 * SECOND);
    expect(first(null, 0.999), 'the ladder has no jitter').toBe(30 * SECOND);
  });

  it('is the larger of statement and ladder after a refused probe', () => {
    const second = (statedWaitMs: number) => {
      const track = new Track();
      track.refuse(track.admit(0), 0, { statedWaitMs: SECOND });
      track.refuse(track.admit(SECOND), SECOND, { statedWaitMs });
      return track.waitAt(SECOND);
    };
    expect(second(5 * SECOND)).toBe(60 * SECOND);
    expect(second(500 * SECOND)).toBe(500 * SECOND);
  });

  it('is finite, and within 10 % above the statement, for any statement and any number of rungs', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 1e300, noNaN: true }),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        fc.integer({ min: 0, max: 200 }),
        (statedWaitMs, jitter, climbs) => {
          const track = new Track();
          let now = 0;
          track.refuse(track.admit(now), now, { statedWaitMs, jitter });
          const most = 31 * 24 * HOUR;
          expect(track.waitAt(now)).toBeGreaterThanOrEqual(Math.min(statedWaitMs, most));
          expect(track.waitAt(now)).toBeLessThanOrEqual(Math.min(statedWaitMs, most) * 1.1 + 1);
          for (let climb = 0; climb < climbs; climb += 1) {
            now += track.waitAt(now);
            track.refuse(track.admit(now), now);
          }
          expect(Number.isFinite(track.waitAt(now))).toBe(true);
        },
      ),
      { numRuns: 50 },
    );
  });
});

describe('the probe', () => {
  const halfOpen = () => {
    const track = new Track();
    track.refuse(track.admit(0), 0);
    return track;
  };
  const T = 30 * SECOND;

  it('is one request; the others wait a second', () => {
    const track = halfOpen();
    track.admit(T);
    expect(track.gate(T + 5)).toEqual({
      kind: 'closed',
      decision: 'probing',
      until: T + 5 + SECOND,
    });
  });

  it('is handed out again after 10 s without an answer, three times at most', () => {
    const track = halfOpen();
    for (const second of [0, 10, 20]) track.admit(T + second * SECOND);
    expect(track.gate(T + 19 * SECOND).kind).toBe('closed');
    expect(track.gate(T + 300 * SECOND).kind).toBe('closed');
    expect(track.gate(T + HOUR - 1).kind, 'the first may be answered yet').toBe('closed');
    expect(track.gate(T + 20 * SECOND + HOUR), 'all are lost by then').toEqual({ kind: 'probe' });
  });

  it('climbs once when two of them are refused', () => {
    const track = halfOpen();
    const first = track.admit(T);
    const second = track.admit(T + 10 * SECOND);
    expect(track.refuse(second, T + 11 * SECOND)).toBe('climbed');
    expect(track.refuse(first, T + 12 * SECOND)).toBe('ignored');
    expect(track.backoff.cooldown?.rung).toBe(2);
  });

  it('decides nothing when its answer belongs to an earlier rung', () => {
    const track = halfOpen();
    const slow = track.admit(T);
    track.refuse(track.admit(T + 10 * SECOND), T + 11 * SECOND);
    expect(track.succeed(slow)).toBe(false);
    expect(track.backoff.cooldown?.rung).toBe(2);
  });

  it('is free again when its client goes away', () => {
    const track = halfOpen();
    const probe = track.admit(T);
    track.backoff = POLICY.abandoned(track.backoff, probe.sequence);
    expect(track.gate(T + 1)).toEqual({ kind: 'probe' });
  });

  it('keeps its place until the deadline when its instance dies', () => {
    const track = halfOpen();
    track.admit(T, 'crashed');
    track.backoff = POLICY.loseProbes(track.backoff, 'crashed');
    expect(track.gate(T + 10 * SECOND - 1).kind).toBe('closed');
    expect(track.gate(T + 10 * SECOND)).toEqual({ kind: 'probe' });
  });

  it('is out once in 10 s, however often the process is restarted', () => {
    const track = halfOpen();
    let probes = 0;
    for (let now = T; now < T + 60 * SECOND; now += 500) {
      track.backoff = POLICY.loseProbes(track.backoff, 'a');
      if (track.gate(now).kind === 'probe') {
        track.admit(now);
        probes += 1;
      }
    }
    expect(probes).toBe(6);
  });
});

describe('a cooldown longer than an hour', () => {
  const weekly = () => {
    const track = new Track();
    track.refuse(track.admit(0), 0, { statedWaitMs: 35 * HOUR });
    return track;
  };

  it('is probed once an hour all the same', () => {
    const track = weekly();
    expect(track.gate(HOUR - 1).kind).toBe('closed');
    track.admit(HOUR);
    expect(track.gate(HOUR + 1).kind).toBe('closed');
    expect(track.gate(2 * HOUR)).toEqual({ kind: 'routine' });
  });

  it('does not climb by such a probe, but takes its newer statement', () => {
    const track = weekly();
    expect(track.refuse(track.admit(HOUR), HOUR, { statedWaitMs: 3 * HOUR })).toBe('noted');
    expect(track.backoff.cooldown).toMatchObject({ rung: 1, until: 4 * HOUR });
  });

  it('is ended by its success', () => {
    const track = weekly();
    expect(track.succeed(track.admit(HOUR))).toBe(true);
    expect(track.gate(HOUR)).toEqual({ kind: 'open' });
  });
});

describe('kinds', () => {
  it('relays a transient refusal, and makes a cooldown only of two within 10 s', () => {
    const track = new Track();
    expect(track.refuse(track.admit(0), 0, { kind: 'transient' })).toBe('noted');
    expect(track.gate(0)).toEqual({ kind: 'open' });
    expect(track.refuse(track.admit(10_001), 10_001, { kind: 'transient' })).toBe('noted');
    expect(track.refuse(track.admit(20_001), 20_001, { kind: 'transient' })).toBe('began');
    expect(track.backoff.cooldown).toMatchObject({ kind: 'transient', rung: 1 });
  });

  it('looks once an hour whether a terminal refusal still stands', () => {
    const track = new Track();
    track.refuse(track.admit(0), 0, { kind: 'terminal' });
    expect(track.gate(HOUR - 1)).toMatchObject({ decision: 'terminal', until: HOUR });
    track.refuse(track.admit(HOUR), HOUR, { kind: 'terminal' });
    expect(track.waitAt(HOUR)).toBe(HOUR);
    expect(track.succeed(track.admit(2 * HOUR))).toBe(true);
  });

  it('decides nothing by what observe mode lets through', () => {
    const track = new Track();
    track.refuse(track.admit(0), 0);
    const bystander = { ticket: POLICY.ticket(track.backoff, 'bystander'), sequence: 99 };
    expect(track.refuse(bystander, 5)).toBe('ignored');
    expect(track.succeed(bystander)).toBe(false);
  });
});

describe('overload', () => {
  it('pauses for 1, 2, 4 … 30 s and starts over after a success', () => {
    const track = new Track();
    let now = 0;
    const waits: number[] = [];
    for (let pause = 0; pause < 7; pause += 1) {
      track.overload(track.admit(now), now);
      const gate = track.gate(now);
      if (gate.kind !== 'closed') throw new Error('open');
      expect(gate.decision).toBe('overload');
      waits.push((gate.until - now) / SECOND);
      now = gate.until;
    }
    expect(waits).toEqual([1, 2, 4, 8, 16, 30, 30]);
    track.succeed(track.admit(now));
    track.overload(track.admit(now), now);
    expect(track.gate(now)).toMatchObject({ until: now + SECOND });
    expect(track.backoff, 'no episode of it').toMatchObject({ episode: 0, cooldown: null });
  });

  describe('told in the midst of answers', () => {
    /** A request whose answer begins, and tells of overload. */
    function failInAnswer(track: Track, now: number): number {
      const flight = track.admit(now);
      track.succeed(flight);
      track.overloadInAnswer(flight, now);
      const gate = track.gate(now);
      if (gate.kind !== 'closed') throw new Error('open');
      return gate.until;
    }

    it('climbs as before them: that they begin is no sign of room', () => {
      const track = new Track();
      const waits: number[] = [];
      let now = 0;
      for (let pause = 0; pause < 7; pause += 1) {
        const until = failInAnswer(track, now);
        waits.push((until - now) / SECOND);
        now = until;
      }
      expect(waits).toEqual([1, 2, 4, 8, 16, 30, 30]);
    });

    it('starts over after an answer that came to its end, but for one that does so in the pause', () => {
      const track = new Track();
      const early = track.admit(0);
      failInAnswer(track, 0);
      failInAnswer(track, SECOND);
      track.finish(early, 2 * SECOND);
      expect(track.gate(2 * SECOND), 'the pause is no shorter').toMatchObject({
        until: 3 * SECOND,
      });
      expect(failInAnswer(track, 3 * SECOND)).toBe(7 * SECOND);
      // Whenever it was asked for: what is in doubt is whether answers come to their end.
      track.finish(early, 7 * SECOND);
      expect(failInAnswer(track, 7 * SECOND)).toBe(8 * SECOND);
    });

    it('is over with the next head once the upstream refuses before its answers again', () => {
      const track = new Track();
      failInAnswer(track, 0);
      track.overload(track.admit(SECOND), SECOND);
      expect(track.gate(SECOND)).toMatchObject({ until: 3 * SECOND });
      track.succeed(track.admit(3 * SECOND));
      track.overload(track.admit(3 * SECOND), 3 * SECOND);
      expect(track.gate(3 * SECOND)).toMatchObject({ until: 4 * SECOND });
    });
  });

  it('takes concurrent signs for one, and honours a stated wait up to five minutes', () => {
    const track = new Track();
    const flights = [track.admit(0), track.admit(0), track.admit(0)];
    expect(flights.map((flight) => track.overload(flight, 0, 20 * SECOND))).toEqual([
      true,
      false,
      false,
    ]);
    expect(track.gate(0)).toMatchObject({ until: 20 * SECOND });
    track.overload(track.admit(20 * SECOND), 20 * SECOND, 10 * HOUR);
    expect(track.gate(20 * SECOND)).toMatchObject({ until: 320 * SECOND });
  });

  it('says nothing about the cooldown that a probe was sent for', () => {
    const track = new Track();
    track.refuse(track.admit(0), 0);
    track.overload(track.admit(30 * SECOND), 30 * SECOND);
    expect(track.backoff.cooldown?.rung).toBe(1);
    expect(track.gate(30 * SECOND)).toMatchObject({ decision: 'overload' });
    expect(track.gate(31 * SECOND)).toEqual({ kind: 'probe' });
  });
});

it('moves as a whole when the clock is taken back', () => {
  const track = new Track();
  track.refuse(track.admit(50 * HOUR), 50 * HOUR);
  track.backoff = POLICY.shift(track.backoff, -48 * HOUR);
  expect(track.gate(2 * HOUR + 29 * SECOND).kind).toBe('closed');
  expect(track.gate(2 * HOUR + 30 * SECOND)).toEqual({ kind: 'probe' });
});

import { describe, expect, it } from 'vitest';
import { SteadyClock } from '../../src/platform/clock.js';

const HOUR = 3_600_000;
const START = Date.UTC(2026, 10, 23);

class FakeTime {
  wallMs = START;
  monotonicMs = 0;
  uptimeMs = 1_000_000;

  readonly wall = () => this.wallMs;
  readonly monotonic = () => this.monotonicMs;
  readonly uptime = () => this.uptimeMs;

  pass(ms: number): void {
    this.wallMs += ms;
    this.monotonicMs += ms;
    this.uptimeMs += ms;
  }

  suspend(ms: number): void {
    this.wallMs += ms;
    this.uptimeMs += ms;
  }
}

function started(recordedAt: number | null = null) {
  const time = new FakeTime();
  const clock = new SteadyClock(time);
  return { time, clock, start: clock.continueFrom(recordedAt) };
}

describe('at the start', () => {
  it('is the wall clock, or the last recorded instant if that is later', () => {
    expect(started().start).toEqual({ now: START, behindMs: 0 });
    expect(started(START - HOUR).start).toEqual({ now: START, behindMs: 0 });
    const { clock, time, start } = started(START + 5_000);
    expect(start).toEqual({ now: START + 5_000, behindMs: 0 });
    time.pass(100);
    expect(clock.now(), 'it goes on from there, not frozen').toBe(START + 5_100);
  });

  it('believes a wall clock more than an hour behind the record, and says so', () => {
    expect(started(START + HOUR).start).toEqual({ now: START + HOUR, behindMs: 0 });
    const { clock, start } = started(START + 48 * HOUR);
    expect(start).toEqual({ now: START, behindMs: 48 * HOUR });
    expect(clock.now()).toBe(START);
  });
});

describe('while it runs', () => {
  it('never goes back with the wall clock', () => {
    const { time, clock } = started();
    time.pass(1_000);
    time.wallMs -= 10 * HOUR;
    expect(clock.now()).toBe(START + 1_000);
    time.pass(1_000);
    expect(clock.now()).toBe(START + 2_000);
  });

  it('does not believe a step forward that nothing confirms', () => {
    const { time, clock } = started();
    time.wallMs += 5 * HOUR;
    expect(clock.now()).toBe(START);
    time.pass(60_000);
    expect(clock.now()).toBe(START + 60_000);
  });

  it('follows a suspend, which the uptime confirms', () => {
    const { time, clock } = started();
    time.pass(1_000);
    time.suspend(8 * HOUR);
    expect(clock.now()).toBe(START + 1_000 + 8 * HOUR);
  });

  it('follows a step that the upstream’s Date header confirms', () => {
    const { time, clock } = started();
    time.wallMs += 5 * HOUR;
    clock.witness(new Date(START).toUTCString());
    expect(clock.now(), 'a Date that contradicts it').toBe(START);
    clock.witness('not a date');
    expect(clock.now()).toBe(START);
    clock.witness(new Date(START + 5 * HOUR - 30_000).toUTCString());
    expect(clock.now()).toBe(START + 5 * HOUR);
  });

  it('does not follow a step of which a suspend explains a part only', () => {
    const { time, clock } = started();
    time.suspend(6 * HOUR);
    time.wallMs += 2 * HOUR;
    expect(clock.now()).toBe(START);
    time.wallMs -= 2 * HOUR;
    expect(clock.now(), 'nor later, for less than that').toBe(START + 6 * HOUR);
  });

  it.each([3_000, 10_000, 100_000])(
    'does not follow a step of %i ms on the word of a Date header that is nearer to our own time',
    (stepMs) => {
      const { time, clock } = started();
      time.pass(60_000);
      const ours = clock.now();
      time.wallMs += stepMs;
      for (const saysMs of [0, 0.4 * stepMs]) {
        clock.witness(new Date(ours + saysMs).toUTCString());
        expect(clock.now(), `${saysMs}`).toBe(ours);
      }
      clock.witness(new Date(ours + stepMs).toUTCString());
      expect(clock.now()).toBe(ours + stepMs);
    },
  );

  it('takes no Date header for a reason to leave a wall clock that did not step', () => {
    const { time, clock } = started();
    time.pass(5_000);
    clock.witness(new Date(START + 10 * HOUR).toUTCString());
    expect(clock.now()).toBe(START + 5_000);
  });
});

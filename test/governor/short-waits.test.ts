import { describe, expect, it } from 'vitest';
import type { AttemptOutcome } from '../../src/governor/admission.js';
import { ShortWaits } from '../../src/governor/short-waits.js';
import { ManualTime } from '../support/manual-time.js';

const PASSED = { kind: 'state-unavailable', problem: null } as const;

function soon(inMs: number): AttemptOutcome {
  return { kind: 'soon', denial: { now: 0, until: inMs } } as AttemptOutcome;
}

/** Lets what waits for promises alone come to rest. */
async function rest(): Promise<void> {
  for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
}

describe('short waits', () => {
  it('ask a bounded number of times, however soon it is said to be', async () => {
    const time = new ManualTime();
    let attempts = 0;
    const waited = new ShortWaits(time).wait(soon(0), () => {
      attempts += 1;
      return Promise.resolve(soon(0));
    });
    for (let step = 0; step < 7_000; step += 1) {
      time.advance(1);
      await rest();
    }
    expect((await waited).kind).toBe('soon');
    expect(attempts).toBe(6_000 / 50);
  });

  it('are for 256 at a time, and the next may wait when one of them has gone', async () => {
    const time = new ManualTime();
    const waits = new ShortWaits(time);
    let answered = 0;
    const wait = (inMs: number) =>
      void waits.wait(soon(inMs), () => Promise.resolve(PASSED)).then(() => (answered += 1));
    wait(1_000);
    for (let more = 0; more < 255; more += 1) wait(5_000);
    wait(5_000);
    await rest();
    expect(answered, 'the 257th is told to come back').toBe(1);
    time.advance(1_000);
    await rest();
    wait(5_000);
    await rest();
    expect(answered, 'the first has passed').toBe(2);
    time.advance(5_000);
    await rest();
    expect(answered).toBe(258);
    expect(time.pending).toBe(0);
  });

  it('end at a stop, and leave no timer behind', async () => {
    const time = new ManualTime();
    const waits = new ShortWaits(time);
    const waited = waits.wait(soon(5_000), () => Promise.resolve(soon(5_000)));
    await rest();
    waits.close();
    expect((await waited).kind).toBe('soon');
    expect(time.pending).toBe(0);
  });
});

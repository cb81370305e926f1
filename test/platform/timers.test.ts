import { describe, expect, it } from 'vitest';
import { afterTurn, SharedDeadline, turnEnds } from '../../src/platform/timers.js';
import { ManualTime } from '../support/manual-time.js';

describe('a shared deadline', () => {
  it('calls each who waits, and not sooner', async () => {
    const time = new ManualTime();
    const deadline = new SharedDeadline(time, 2_000);
    const late: string[] = [];
    deadline.set(() => late.push('first'));
    await Promise.resolve();
    time.advance(500);
    deadline.set(() => late.push('second'));
    await Promise.resolve();
    time.advance(1_499);
    expect(late).toEqual([]);
    time.advance(1);
    expect(late).toEqual(['first']);
    time.advance(500);
    expect(late).toEqual(['first', 'second']);
  });

  it('takes one timer for those of one turn, and leaves none behind', async () => {
    const time = new ManualTime();
    const deadline = new SharedDeadline(time, 2_000);
    const late: number[] = [];
    const cancels = [1, 2, 3].map((number) => deadline.set(() => late.push(number)));
    await Promise.resolve();
    expect(time.pending).toBe(1);
    cancels[0]?.();
    cancels[0]?.();
    time.advance(2_000);
    expect(late).toEqual([2, 3]);
    cancels[1]?.();
    const [fourth, fifth] = [deadline.set(() => late.push(4)), deadline.set(() => late.push(5))];
    fourth();
    await Promise.resolve();
    expect(time.pending).toBe(1);
    fifth();
    expect(time.pending).toBe(0);
    deadline.set(() => late.push(6))();
    await Promise.resolve();
    expect(time.pending).toBe(0);
  });
});

describe('the end of a turn', () => {
  it('comes after those who waited for the same have gone on', async () => {
    const order: string[] = [];
    const ended = turnEnds().then(() => order.push('turn ended'));
    const others = [1, 2].map((number) =>
      new Promise<void>((resolve) => afterTurn(resolve)).then(() => order.push(`${number}`)),
    );
    order.push('now');
    await Promise.all([ended, ...others]);
    expect(order).toEqual(['now', '1', '2', 'turn ended']);
  });
});
